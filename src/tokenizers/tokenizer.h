// Text to ids and back. Ids equal those of Hugging Face transformers for the same vocabulary files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

// Ids of the special tokens; -1 if the vocabulary lacks one.
struct SpecialTokens {
  int32_t bos = -1;
  int32_t eos = -1;
  int32_t pad = -1;
  int32_t unk = -1;
};

// Thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // All ids of text, framed by the special ids (CLIP: bos ... eos, T5: ... eos, byte-level BPE: what its
  // tokenizer.json says, none for Llama 3's tokenizer.model). Special tokens spelled out in the text ("<|endoftext|>",
  // "</s>", "<extra_id_0>") become their ids, as in transformers; not so for tokenizer.model, as in tiktoken.
  // Throws DataError when text is not valid UTF-8.
  std::vector<int32_t> encode(std::string_view text) const;
  // At most max_length ids: text is truncated, the special ids are kept.
  std::vector<int32_t> encode_truncated(std::string_view text, int64_t max_length) const;
  // Exactly length ids: truncated, or padded with the pad id.
  std::vector<int32_t> encode_padded(std::string_view text, int64_t length) const;
  // Text without the special tokens; ids outside the vocabulary are left out.
  virtual std::string decode(std::span<const int32_t> ids) const = 0;

  // The same of ids that follow others, where decode() leaves out a blank before the first word.
  virtual std::string decode_behind(std::span<const int32_t> ids) const { return decode(ids); }

  virtual int64_t vocabulary_size() const = 0;
  const SpecialTokens& special_tokens() const { return special_tokens_; }
  virtual const char* name() const = 0;

 protected:
  // Appends the ids of valid UTF-8, without the surrounding special ids.
  virtual void append_ids(std::string_view text, std::vector<int32_t>& ids) const = 0;

  SpecialTokens special_tokens_;
  // Whether encode() puts them around the text.
  bool adds_bos_ = true;
  bool adds_eos_ = true;
};

enum class TokenizerKind { kAuto, kClip, kT5, kByteLevel };

// path: a Hugging Face folder (tokenizer.json, or vocab.json with merges.txt, or spiece.model, or Llama 3's
// tokenizer.model, also below original/), one of these files, or open_clip's bpe_simple_vocab_16e6.txt.gz. Throws
// ModelError naming the file and, if applicable, the line.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path, TokenizerKind kind = TokenizerKind::kAuto);

}  // namespace millrace
