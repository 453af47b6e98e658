// BPE vocabularies of bytes (GPT-2, Llama 3, Qwen2, SmolLM2, Mistral-Nemo), read from the two forms in which people
// have them, and of characters with bytes for those that they lack (Llama 2, Mistral 7B).
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/sentencepiece_json.h"
#include "tokenizers/added_tokens.h"
#include "tokenizers/sentencepiece_file.h"
#include "tokenizers/split_pattern.h"

namespace millrace {

// Where words are merged from characters instead of bytes, blanks are characters like others. Files spell them with
// kBlankMark, "▁", which text may hold as well, and is then taken for a blank.
std::string with_blanks(std::string_view text);  // for every mark

struct CharacterRules {
  std::array<int32_t, 256> byte_ids{};  // "<0x00>" to "<0xFF>", for characters without a token of their own
  enum class Prefix { kNone, kFirst, kEverywhere };
  Prefix prefix = Prefix::kNone;  // a blank before text: where it begins, or also behind every added token
  bool normalizes = false;        // a normalizer does this, also to text that begins with a blank; else a pre-tokenizer
  bool cuts_before_blanks = false;  // every blank begins a word
  bool strips_first_blank = false;  // decode() does
};

struct ByteLevelVocabulary {
  std::filesystem::path path;                // for messages
  std::vector<std::string> tokens;           // bytes by id; "" where the id belongs to an added token or to none
  std::optional<CharacterRules> characters;  // tokens has "<0x00>" for their bytes, as it is spelled
  struct Merge {
    int32_t left, right, joined;
    uint32_t rank;
  };
  std::vector<Merge> merges;
  bool whole_words_first = false;  // a word that is a token is not merged step by step ("ignore_merges")
  struct Split {
    SplitPattern pattern;
    bool between_too = true;
  };
  std::vector<Split> splits;  // each cuts the pieces of the one before
  bool nfc = false;
  struct Added : AddedToken {
    bool special = true;      // left out by decode()
    bool normalized = false;  // matched in normalized text, its content normalized as well
  };
  std::vector<Added> added;
  std::string bos, eos, pad;  // contents of added tokens, "" for none
  bool adds_bos = false, adds_eos = false;
  bool finds_added_tokens = true;  // encode() recognises their spelling
  bool cuts_long_text = false;     // as torchtune and llama-models, see ByteLevelTokenizer
};

// Llama 3's tokenizer.model: lines of a token's bytes in base64 and its rank. Special tokens follow the base vocabulary
// in torchtune's order. No special token is added or recognised in text by encode(). Throws ModelError naming file and
// line.
ByteLevelVocabulary read_tiktoken_model(const std::filesystem::path& path);
// Whether a file's first line looks like one.
bool is_tiktoken_model(const std::filesystem::path& path);

// tokenizer.model of SentencePiece with a BPE model, as Llama 2 and Mistral 7B have it: the same ids as SentencePiece
// gives. No special token is added or recognised in text by encode(). The names of the special ones are taken from the
// tokenizer_config.json beside path, or are <s> and </s>. Throws ModelError naming the file for models that change text
// first, and for pieces that users defined.
ByteLevelVocabulary bpe_vocabulary(const SentencePieceFile& file, const std::filesystem::path& path);

// tokenizer.json with a model of type BPE, and byte-level pre-tokenizers or byte_fallback: what the file at path holds.
// bos, eos and pad are taken from the tokenizer_config.json beside it. Throws ModelError naming the file and the part
// of it that is beyond what is known.
ByteLevelVocabulary read_byte_level_json(const nlohmann::json& file, const std::filesystem::path& path);
// The same from what the two files hold; config: null where there is no tokenizer_config.json. path: for messages.
ByteLevelVocabulary read_byte_level_json(const nlohmann::json& file, const nlohmann::json& config,
                                         const std::filesystem::path& path);

}  // namespace millrace
