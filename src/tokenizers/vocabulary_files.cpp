#include "tokenizers/vocabulary_files.h"

#include <zlib.h>

#include <memory>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

std::string inflate_gzip(const std::filesystem::path& path, std::string_view packed) {
  z_stream stream{};
  if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) throw LogicError("zlib does not start");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string text;
  std::string block(1 << 16, '\0');
  int status = Z_OK;
  while (status != Z_STREAM_END) {
    stream.next_out = reinterpret_cast<Bytef*>(block.data());
    stream.avail_out = static_cast<uInt>(block.size());
    status = inflate(&stream, Z_NO_FLUSH);
    const size_t got = block.size() - stream.avail_out;
    if (status != Z_STREAM_END && (status != Z_OK || (got == 0 && stream.avail_in == 0))) {
      fail_vocabulary(path, 0, str("expected gzip data, got a damaged file after ", stream.total_in, " bytes"));
    }
    text.append(block, 0, got);
    if (text.size() > kMaxVocabularyBytes) {
      fail_vocabulary(path, 0, str("expected at most ", human_bytes(kMaxVocabularyBytes), " when unpacked, got more"));
    }
  }
  return text;
}

}  // namespace

void fail_vocabulary(const std::filesystem::path& path, int64_t line, std::string_view message) {
  throw ModelError(line > 0 ? str("[", path.string(), ":", line, "] ", message)
                            : str("[", path.string(), "] ", message));
}

std::string read_vocabulary_text(const std::filesystem::path& path) {
  std::string text;
  try {
    text = read_file(path, kMaxVocabularyBytes);
  } catch (const StorageError& error) {
    throw ModelError(error.what());
  }
  const bool gzip = text.size() >= 2 && text[0] == '\x1f' && text[1] == '\x8b';
  return gzip ? inflate_gzip(path, text) : text;
}

nlohmann::json read_vocabulary_json(const std::filesystem::path& path) {
  const std::string text = read_vocabulary_text(path);
  // The parser does not recurse, but a document nested a million deep still costs memory: ours need less than 32.
  bool too_deep = false;
  const auto limit = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep = too_deep || depth > 32;
    return !too_deep;
  };
  try {
    nlohmann::json json = nlohmann::json::parse(text, limit);
    if (too_deep) fail_vocabulary(path, 0, "expected JSON nested at most 32 deep, got more");
    return json;
  } catch (const nlohmann::json::exception& error) {
    fail_vocabulary(path, 0, str("expected JSON, got: ", error.what()));
  }
}

const nlohmann::json& model_of(const nlohmann::json& tokenizer_json) {
  static const nlohmann::json none;
  const auto found = tokenizer_json.find("model");
  return found == tokenizer_json.end() ? none : *found;
}

}  // namespace millrace
