#include "picture_sets/metadata_file.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/python_text.h"
#include "base/text.h"
#include "formats/quote.h"
#include "formats/read_python_json.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxMetadataBytes = uint64_t{512} << 20;

Json parse(const std::string& text, const std::string& place) {
  return parse_python_json(text, place, {.max_bytes = kMaxMetadataBytes});
}

std::optional<std::string> text_of(const Json& entry, const char* key, const std::string& place) {
  const auto found = entry.find(key);
  if (found == entry.end() || found->is_null()) return std::nullopt;
  if (!found->is_string()) {
    throw DataError("[" + place + "] expected " + key + " to be a text, got " + found->type_name());
  }
  std::string text = found->get<std::string>();
  if (!is_valid_utf8(text))
    throw DataError("[" + place + "] expected " + std::string(key) + " in UTF-8, got half a character");
  return text;
}

std::optional<PictureSize> size_of(const Json& entry, const char* key, const std::string& place) {
  const auto found = entry.find(key);
  if (found == entry.end() || found->is_null()) return std::nullopt;
  const bool is_pair =
      found->is_array() && found->size() == 2 && (*found)[0].is_number_integer() && (*found)[1].is_number_integer();
  if (is_pair) {
    const PictureSize size = {(*found)[0].get<int64_t>(), (*found)[1].get<int64_t>()};
    const bool is_sane = size.width > 0 && size.height > 0 && size.width <= 1'000'000 && size.height <= 1'000'000;
    if (is_sane) return size;
  }
  throw DataError("[" + place + "] expected " + key + " to be [width, height] in pixels, got " + found->dump());
}

MetadataEntry entry_of(const std::string& key, const Json& entry, const char* size_key, const std::string& place) {
  const std::string where = place + " " + in_quotes(key);
  if (!entry.is_object()) throw DataError("[" + where + "] expected an object, got " + entry.type_name());
  return {key, text_of(entry, "caption", where), text_of(entry, "tags", where), size_of(entry, size_key, where)};
}

std::vector<MetadataEntry> entries_of(const std::filesystem::path& path, const char* size_key) {
  const std::string place = path.string();
  const Json json = parse(read_file(path, kMaxMetadataBytes), place);
  if (!json.is_object())
    throw DataError("[" + place + "] expected an object with a picture a key, got " + json.type_name());
  std::vector<MetadataEntry> entries;
  for (const auto& [key, entry] : json.items()) entries.push_back(entry_of(key, entry, size_key, place));
  return entries;
}

std::vector<MetadataEntry> read_lines(const std::filesystem::path& path) {
  Json by_key;  // the last of a key counts, at the place of the first
  int64_t number = 0;
  for (const std::string& line : python_lines(read_file(path, kMaxMetadataBytes))) {
    ++number;
    const std::string place = path.string() + ":" + std::to_string(number);
    if (python_strip(line).empty()) continue;
    Json json = parse(line, place);
    const std::optional<std::string> key = json.is_object() ? text_of(json, "image_path", place) : std::nullopt;
    if (!key)
      throw DataError("[" + place + "] expected an object with image_path, got " +
                      (json.is_object() ? "none" : json.type_name()));
    if (json.contains("width") && json.contains("height")) json["image_size"] = {json["width"], json["height"]};
    by_key[*key] = std::move(json);
  }
  std::vector<MetadataEntry> entries;
  for (const auto& [key, entry] : by_key.items()) entries.push_back(entry_of(key, entry, "image_size", path.string()));
  return entries;
}

}  // namespace

std::vector<MetadataEntry> read_metadata_file(const std::filesystem::path& path) {
  return ends_with(path.string(), ".jsonl") ? read_lines(path) : entries_of(path, "image_size");
}

std::vector<MetadataEntry> read_info_cache(const std::filesystem::path& path) {
  return entries_of(path, "resolution");
}

void write_info_cache(const std::filesystem::path& path, const std::vector<MetadataEntry>& entries) {
  Json json = Json::object();
  for (const MetadataEntry& entry : entries) {
    json[entry.key] = {{"caption", entry.caption.value()},
                       {"resolution", {entry.size.value().width, entry.size.value().height}}};
  }
  write_file_atomically(path, json.dump(2, ' ', false, Json::error_handler_t::replace));
}

}  // namespace millrace
