#include "checkpoint/checkpoint_index.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "checkpoint/piece_cover.h"
#include "formats/python_json.h"
#include "formats/safetensors.h"

namespace millrace {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxIndexBytes = uint64_t{256} << 20;
constexpr std::string_view kFormatName = "millrace checkpoint";

Json piece_to_json(const CheckpointPiece& piece) {
  Json json = {
      {"file", piece.file}, {"name", piece.name}, {"shape", piece.shape}, {"checksum", checksum_text(piece.checksum)}};
  if (piece.start.empty()) {
    json["offset"] = piece.offset;
  } else {
    json["start"] = piece.start;
  }
  return json;
}

Json tensor_to_json(const CheckpointTensor& tensor) {
  Json pieces = Json::array();
  for (const CheckpointPiece& piece : tensor.pieces) pieces.push_back(piece_to_json(piece));
  return {{"dtype", dtype_name(tensor.dtype)}, {"shape", tensor.shape}, {"pieces", std::move(pieces)}};
}

// In Python's form, which has one text for each number, so that other writers of an index get the same checksum.
uint64_t content_checksum(const Json& without_checksum) {
  const std::string text = python_json(without_checksum, {.compact = true, .ensure_ascii = false});
  return checksum64(text.data(), text.size());
}

// Typed access; errors name the place of a missing or wrong field.
class Reader {
 public:
  Reader(const Json& json, std::string place) : json_(json), place_(std::move(place)) {
    if (!json.is_object()) fail("an object", json);
  }
  Reader child(const char* key) const { return {at(key), place_ + " " + key}; }
  const Json& at(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) throw StorageError(str("[", place_, "] expected a field \"", key, "\", got none"));
    return *found;
  }
  bool has(const char* key) const { return json_.contains(key); }
  int64_t whole(const char* key) const { return whole(at(key)); }
  std::string text(const char* key) const {
    if (!at(key).is_string()) fail(str("text in \"", key, "\""), at(key));
    return at(key).get<std::string>();
  }
  std::vector<int64_t> wholes(const char* key) const {
    if (!at(key).is_array()) fail(str("a list in \"", key, "\""), at(key));
    std::vector<int64_t> values;
    for (const Json& item : at(key)) values.push_back(whole(item));
    return values;
  }
  uint64_t checksum(const char* key) const {
    const std::string digits = text(key);
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 16 || error != std::errc() || end != digits.data() + 16) {
      fail(str("16 hexadecimal digits in \"", key, "\""), at(key));
    }
    return value;
  }
  const Json& json() const { return json_; }
  const std::string& place() const { return place_; }
  [[noreturn]] void fail(const std::string& expected, const Json& got) const {
    throw StorageError(str("[", place_, "] expected ", expected, ", got ", got.dump().substr(0, 80)));
  }

 private:
  int64_t whole(const Json& value) const {
    if (!value.is_number_integer() || value.get<int64_t>() < 0) fail("a whole number, 0 or more", value);
    return value.get<int64_t>();
  }

  const Json& json_;
  std::string place_;
};

// Anything else could lead out of the checkpoint's folder.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

CheckpointPiece read_piece(const Reader& reader, const CheckpointIndex& index) {
  CheckpointPiece piece;
  piece.file = reader.text("file");
  piece.name = reader.text("name");
  piece.shape = reader.wholes("shape");
  piece.checksum = reader.checksum("checksum");
  if (reader.has("start")) {
    piece.start = reader.wholes("start");
  } else {
    piece.offset = reader.whole("offset");
  }
  if (!index.files.contains(piece.file)) reader.fail("a file that is listed under \"files\"", piece.file);
  return piece;
}

CheckpointTensor read_tensor(const Reader& reader, const CheckpointIndex& index) {
  CheckpointTensor tensor;
  const std::string dtype_name = reader.text("dtype");
  const auto dtype = parse_dtype(dtype_name);
  if (!dtype) reader.fail("a safetensors dtype", dtype_name);
  tensor.dtype = *dtype;
  tensor.shape = reader.wholes("shape");
  if (!reader.at("pieces").is_array()) reader.fail("a list in \"pieces\"", reader.at("pieces"));
  for (const Json& piece : reader.at("pieces")) tensor.pieces.push_back(read_piece({piece, reader.place()}, index));
  return tensor;
}

void check_own_checksum(const Reader& reader) {
  Json rest = reader.json();
  rest.erase("checksum");
  const std::string found = checksum_text(content_checksum(rest));
  if (reader.text("checksum") != found) {
    throw StorageError(str("[", reader.place(), "] expected content with checksum ", reader.text("checksum"), ", got ",
                           found, ": the file has changed since it was written"));
  }
}

CheckpointIndex read_fields(const Reader& reader) {
  if (reader.text("format") != kFormatName) reader.fail(str("format \"", kFormatName, "\""), reader.at("format"));
  const int64_t version = reader.whole("format_version");
  if (version != kCheckpointFormatVersion) {
    throw StorageError(str("[", reader.place(), "] expected format_version ", kCheckpointFormatVersion, ", got ",
                           version, " (try the version of millrace that wrote it)"));
  }
  check_own_checksum(reader);
  CheckpointIndex index;
  index.own_checksum = reader.text("checksum");
  index.step = reader.whole("step");
  index.world_size = reader.whole("world_size");
  index.state_json = reader.child("state").json().dump();
  for (const auto& [file, entry] : reader.child("files").json().items()) {
    const Reader fields(entry, reader.place() + " files " + file);
    if (!is_plain_file_name(file)) fields.fail("a plain file name", file);
    index.files[file] = {static_cast<uint64_t>(fields.whole("size")), fields.checksum("header_checksum")};
  }
  for (const auto& [name, entry] : reader.child("tensors").json().items()) {
    index.tensors[name] = read_tensor({entry, reader.place() + " tensors " + name}, index);
  }
  return index;
}

}  // namespace

int64_t checked_num_elements(const std::string& place, const std::vector<int64_t>& shape) {
  constexpr int64_t kMax = int64_t{1} << 48;
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0 || size > kMax || (size > 0 && count > kMax / size)) {
      throw StorageError(str("[", place, "] expected a shape of at most 2^48 elements, got a larger one"));
    }
    count *= size;
  }
  return count;
}

std::string to_json(const CheckpointIndex& index) {
  Json files = Json::object(), tensors = Json::object();
  for (const auto& [file, entry] : index.files) {
    files[file] = {{"size", entry.size}, {"header_checksum", checksum_text(entry.header_checksum)}};
  }
  for (const auto& [tensor_name, tensor] : index.tensors) tensors[tensor_name] = tensor_to_json(tensor);
  const Json state = Json::parse(index.state_json);
  MILLRACE_CHECK(state.is_object());
  const Json whole = {{"format", kFormatName}, {"format_version", kCheckpointFormatVersion},
                      {"step", index.step},    {"world_size", index.world_size},
                      {"files", files},        {"tensors", tensors},
                      {"state", state}};
  // One line per field and per tensor: readable with a pager, searchable with grep.
  std::string text = "{\n";
  for (const char* key : {"format", "format_version", "step", "world_size", "state", "files"}) {
    text += str("\"", key, "\": ", whole[key].dump(), ",\n");
  }
  text += "\"tensors\": {";
  const char* separator = "\n";
  for (const auto& [tensor_name, tensor] : tensors.items()) {
    text += separator + Json(tensor_name).dump() + ": " + tensor.dump();
    separator = ",\n";
  }
  return text + "\n},\n\"checksum\": \"" + checksum_text(content_checksum(whole)) + "\"\n}\n";
}

CheckpointIndex parse_checkpoint_index(const std::string& text, const std::string& place) {
  try {
    const Json json = Json::parse(text);
    return read_fields({json, place});
  } catch (const Json::exception& error) {
    throw StorageError(str("[", place, "] expected the JSON index of a checkpoint, got: ", error.what()));
  }
}

CheckpointIndex read_checkpoint_index(const std::filesystem::path& path) {
  CheckpointIndex index = parse_checkpoint_index(read_file(path, kMaxIndexBytes), path.string());
  check_complete(index, path.string());
  return index;
}

void add_part(CheckpointIndex& index, CheckpointIndex part) {
  MILLRACE_CHECK(index.step == part.step && index.world_size == part.world_size);
  for (const auto& [file, entry] : part.files) {
    const bool is_new = index.files.emplace(file, entry).second;
    MILLRACE_CHECK(is_new);
  }
  for (auto& [name, tensor] : part.tensors) {
    const auto [place, is_new] = index.tensors.try_emplace(name, tensor);
    if (is_new) continue;
    CheckpointTensor& whole = place->second;
    if (whole.dtype != tensor.dtype || whole.shape != tensor.shape) {
      throw StorageError(str("[", name, "] expected the same tensor on all ranks, got ", dtype_name(whole.dtype), " ",
                             shape_text(whole.shape), " and ", dtype_name(tensor.dtype), " ",
                             shape_text(tensor.shape)));
    }
    std::move(tensor.pieces.begin(), tensor.pieces.end(), std::back_inserter(whole.pieces));
  }
}

void check_complete(const CheckpointIndex& index, const std::string& place) {
  for (const auto& [name, tensor] : index.tensors) check_cover(place + " tensors " + name, tensor);
}

TensorRegion region_of(const CheckpointPiece& piece) {
  return {piece.offset, element_count(piece.shape), piece.start,
          piece.start.empty() ? std::vector<int64_t>() : piece.shape};
}

}  // namespace millrace
