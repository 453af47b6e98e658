#include "tokenizers/clip_vocabulary.h"

#include <algorithm>

#include "base/log.h"
#include "base/text.h"
#include "tokenizers/unicode.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

// open_clip uses the first 49152 - 256 - 2 merges of the file, which holds many more.
constexpr size_t kOpenClipMerges = 49152 - 256 - 2;

ClipVocabulary::Merge parse_merge(const std::filesystem::path& path, int64_t line, std::string_view text) {
  const size_t blank = text.find(' ');
  if (!is_valid_utf8(text) || blank == 0 || blank == std::string_view::npos || blank + 1 == text.size() ||
      text.find(' ', blank + 1) != std::string_view::npos) {
    fail_vocabulary(path, line,
                    str("expected two symbols with one blank between them, got \"",
                        unicode::replace_invalid_utf8(text.substr(0, 80)), "\""));
  }
  return {std::string(text.substr(0, blank)), std::string(text.substr(blank + 1)), line};
}

// Calls on_line(number, text) for lines that are not empty.
template <typename OnLine>
void for_each_line(std::string_view text, OnLine on_line) {
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    ++number;
    if (!line.empty()) on_line(number, line);
    begin = end + 1;
  }
}

void add_ids(ClipVocabulary& vocabulary, const nlohmann::json& ids) {
  if (!ids.is_object() || ids.empty()) {
    fail_vocabulary(vocabulary.path, 0, "expected an object of tokens and their ids, got something else");
  }
  if (static_cast<int64_t>(ids.size()) > kMaxVocabularySize) {
    fail_vocabulary(vocabulary.path, 0, str("expected at most ", kMaxVocabularySize, " tokens, got ", ids.size()));
  }
  vocabulary.ids.reserve(ids.size());
  for (const auto& [token, id] : ids.items()) {
    if (!id.is_number_integer() || id < 0 || id >= kMaxVocabularySize) {
      fail_vocabulary(
          vocabulary.path, 0,
          str("expected an id from 0 to ", kMaxVocabularySize - 1, " for the token \"", token, "\", got ", id.dump()));
    }
    vocabulary.ids.emplace(token, id.get<int32_t>());
  }
}

// A special token in tokenizer_config.json is a string, or an object with "content" and "normalized".
struct ConfiguredToken {
  std::string content;
  bool normalized = false;
};

ConfiguredToken configured_token(const nlohmann::json& config, const char* key, const char* otherwise) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return {otherwise};
  if (found->is_string()) return {found->get<std::string>()};
  if (!found->is_object()) return {otherwise};
  const auto content = found->find("content");
  const auto normalized = found->find("normalized");
  return {content != found->end() && content->is_string() ? content->get<std::string>() : otherwise,
          normalized != found->end() && normalized->is_boolean() && normalized->get<bool>()};
}

void read_tokenizer_config(ClipVocabulary& vocabulary, const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer_config.json";
  if (!std::filesystem::exists(path)) return;
  const nlohmann::json config = read_vocabulary_json(path);
  if (!config.is_object()) fail_vocabulary(path, 0, "expected a JSON object, got something else");
  const ConfiguredToken pad = configured_token(config, "pad_token", kClipEos);
  vocabulary.pad_token = pad.content;
  vocabulary.bos_normalized = configured_token(config, "bos_token", kClipBos).normalized;
  // Three names for one token: transformers adds them in this order and the last one decides.
  for (const char* key : {"eos_token", "unk_token", "pad_token"}) {
    const ConfiguredToken token = configured_token(config, key, kClipEos);
    if (token.content == kClipEos) vocabulary.eos_normalized = token.normalized;
  }
  const auto added = config.find("added_tokens_decoder");  // newer files have it here, and this wins
  if (added == config.end() || !added->is_object()) return;
  for (const auto& [id, token] : added->items()) {
    if (!token.is_object()) continue;
    const ConfiguredToken one = configured_token({{"token", token}}, "token", "");
    if (one.content == kClipBos) vocabulary.bos_normalized = one.normalized;
    if (one.content == kClipEos) vocabulary.eos_normalized = one.normalized;
  }
}

}  // namespace

const std::vector<uint8_t>& byte_order() {
  static const std::vector<uint8_t> order = [] {
    const auto printable = [](int b) { return (b >= 33 && b < 127) || (b >= 161 && b < 173) || b >= 174; };
    std::vector<uint8_t> bytes;
    for (int b = 0; b < 256; ++b) {
      if (printable(b)) bytes.push_back(static_cast<uint8_t>(b));
    }
    for (int b = 0; b < 256; ++b) {
      if (!printable(b)) bytes.push_back(static_cast<uint8_t>(b));
    }
    return bytes;
  }();
  return order;
}

const std::vector<std::string>& byte_symbols() {
  static const std::vector<std::string> symbols = [] {
    constexpr size_t kPrintable = 188;  // these stand for themselves, the others for U+0100 and up
    std::vector<std::string> table(256);
    for (size_t i = 0; i < 256; ++i) {
      const uint8_t byte = byte_order()[i];
      unicode::append_utf8(table[byte], i < kPrintable ? byte : static_cast<uint32_t>(256 + i - kPrintable));
    }
    return table;
  }();
  return symbols;
}

ClipVocabulary read_open_clip_vocabulary(const std::filesystem::path& path) {
  ClipVocabulary vocabulary;
  vocabulary.path = path;
  const std::string text = read_vocabulary_text(path);
  for_each_line(text, [&](int64_t number, std::string_view line) {
    if (number == 1 || vocabulary.merges.size() == kOpenClipMerges) return;  // line 1 is a header
    vocabulary.merges.push_back(parse_merge(path, number, line));
  });
  int32_t next = 0;
  const auto add = [&](const std::string& token) { vocabulary.ids.emplace(token, next++); };
  for (const uint8_t byte : byte_order()) add(byte_symbols()[byte]);
  for (const uint8_t byte : byte_order()) add(byte_symbols()[byte] + "</w>");
  for (const auto& merge : vocabulary.merges) add(merge.left + merge.right);
  add(kClipBos);
  add(kClipEos);
  return vocabulary;
}

ClipVocabulary read_clip_folder(const std::filesystem::path& folder) {
  ClipVocabulary vocabulary;
  vocabulary.path = folder / "vocab.json";
  add_ids(vocabulary, read_vocabulary_json(vocabulary.path));
  const std::filesystem::path merges_path = folder / "merges.txt";
  const std::string text = read_vocabulary_text(merges_path);
  for_each_line(text, [&](int64_t number, std::string_view line) {
    if (starts_with(line, "#version")) return;
    if (static_cast<int64_t>(vocabulary.merges.size()) == kMaxVocabularySize) {
      fail_vocabulary(merges_path, number, str("expected at most ", kMaxVocabularySize, " merges, got more"));
    }
    vocabulary.merges.push_back(parse_merge(merges_path, number, line));
  });
  vocabulary.path = merges_path;
  read_tokenizer_config(vocabulary, folder);
  return vocabulary;
}

ClipVocabulary read_clip_tokenizer_json(const nlohmann::json& file, const std::filesystem::path& path) {
  ClipVocabulary vocabulary;
  vocabulary.path = path;
  const nlohmann::json& model = model_of(file);
  if (!model.is_object() || !model.contains("vocab") || !model.contains("merges") || !model["merges"].is_array()) {
    fail_vocabulary(path, 0, "expected a BPE model with \"vocab\" and \"merges\", got none");
  }
  if (model.value("end_of_word_suffix", nlohmann::json()) != "</w>") {
    fail_vocabulary(path, 0, "expected CLIP's BPE, whose words end in \"</w>\", got another kind of BPE");
  }
  add_ids(vocabulary, model["vocab"]);
  if (static_cast<int64_t>(model["merges"].size()) > kMaxVocabularySize) {
    fail_vocabulary(path, 0, str("expected at most ", kMaxVocabularySize, " merges, got ", model["merges"].size()));
  }
  for (const auto& merge : model["merges"]) {  // "a b" in older files, ["a", "b"] in newer ones
    if (merge.is_string()) {
      vocabulary.merges.push_back(parse_merge(path, 0, merge.get_ref<const std::string&>()));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      vocabulary.merges.push_back({merge[0].get<std::string>(), merge[1].get<std::string>()});
    } else {
      fail_vocabulary(path, 0, str("expected a merge of two symbols, got ", merge.dump().substr(0, 80)));
    }
  }
  read_tokenizer_config(vocabulary, path.parent_path());
  return vocabulary;
}

}  // namespace millrace
