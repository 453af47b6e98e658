// A byte-level vocabulary in both of its forms, small enough to read.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <nlohmann/json.hpp>

#include "tokenizers/clip_vocabulary.h"

namespace millrace {

// A folder that is removed again.
class VocabularyFolder {
 public:
  VocabularyFolder() {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("millrace-byte-level-" + std::to_string(::getpid()) + "-" + std::to_string(count++));
    std::filesystem::create_directories(path_);
  }
  ~VocabularyFolder() { std::filesystem::remove_all(path_); }
  VocabularyFolder(const VocabularyFolder&) = delete;
  VocabularyFolder& operator=(const VocabularyFolder&) = delete;

  std::filesystem::path write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// tokenizer.json with the 256 bytes, the tokens "ab" and "abc", and <|begin_of_text|> as an added token; GPT-2's
// expression.
inline nlohmann::json small_tokenizer_json() {
  nlohmann::json vocab;
  for (const uint8_t byte : byte_order()) vocab[byte_symbols()[byte]] = vocab.size();
  vocab["ab"] = 256;
  vocab["abc"] = 257;
  return {{"added_tokens", {{{"id", 258}, {"content", "<|begin_of_text|>"}, {"special", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"a b", "ab c"}}}}};
}

// tokenizer.json as Llama 2 has it: <unk>, <s>, </s>, the bytes, and ▁ a b é ▁a ab ▁ab; <s> comes before every text.
inline nlohmann::json small_character_json() {
  using nlohmann::json;
  json vocab, added = json::array();
  for (const char* token : {"<unk>", "<s>", "</s>"}) {
    added.push_back({{"id", added.size()}, {"content", token}, {"special", true}, {"normalized", false}});
    vocab[token] = vocab.size();
  }
  constexpr const char* kDigits = "0123456789ABCDEF";
  for (size_t byte = 0; byte < 256; ++byte) {
    vocab[std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">"] = vocab.size();
  }
  for (const char* token : {"▁", "a", "b", "é", "▁a", "ab", "▁ab"}) vocab[token] = vocab.size();
  const json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}};
  const json replace_back = {{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}};
  const json strip = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}};
  return {{"added_tokens", added},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", {{{"type", "Prepend"}, {"prepend", "▁"}}, replace}}}},
          {"pre_tokenizer", nullptr},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}}}}}}}},
          {"decoder",
           {{"type", "Sequence"}, {"decoders", {replace_back, {{"type", "ByteFallback"}}, {{"type", "Fuse"}}, strip}}}},
          {"model",
           {{"type", "BPE"},
            {"byte_fallback", true},
            {"fuse_unk", true},
            {"unk_token", "<unk>"},
            {"vocab", vocab},
            {"merges", {"a b", "▁ ab", "▁ a"}}}}};
}

}  // namespace millrace
