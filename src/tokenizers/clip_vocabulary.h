// Reads the three file formats of CLIP's vocabulary.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace millrace {

inline constexpr const char* kClipBos = "<|startoftext|>";
inline constexpr const char* kClipEos = "<|endoftext|>";

struct ClipVocabulary {
  std::filesystem::path path;  // for messages
  std::unordered_map<std::string, int32_t> ids;
  // Merges in order of rank, with the number of the line they were read from (0: none).
  struct Merge {
    std::string left, right;
    int64_t line = 0;
  };
  std::vector<Merge> merges;
  std::string pad_token = kClipEos;
  // Whether the special token is also matched after the text has been lower-cased ("<|STARTOFTEXT|>"). Files on the hub
  // differ in this ("normalized" in tokenizer_config.json).
  bool bos_normalized = false;
  bool eos_normalized = false;
};

// open_clip's merges alone (.txt or .txt.gz); ids follow from their order.
ClipVocabulary read_open_clip_vocabulary(const std::filesystem::path& path);
// vocab.json and merges.txt, and tokenizer_config.json if present.
ClipVocabulary read_clip_folder(const std::filesystem::path& folder);
// What the BPE tokenizer.json at path holds; the tokenizer_config.json beside it is read too.
ClipVocabulary read_clip_tokenizer_json(const nlohmann::json& file, const std::filesystem::path& path);

// The printable character that stands for each byte in GPT-2's and CLIP's vocabularies, as UTF-8.
const std::vector<std::string>& byte_symbols();
// The order of the 256 bytes among the first ids.
const std::vector<uint8_t>& byte_order();

}  // namespace millrace
