// A BPE vocabulary of SentencePiece, as Llama 2 and Mistral 7B have one, in the words of Hugging Face's tokenizer.json:
// BPE on characters, with tokens for single bytes, whose merges stand in the order of the pieces' scores.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string_view>

namespace millrace {

inline constexpr std::string_view kBlankMark = "\xE2\x96\x81";  // U+2581, for a blank

struct ScoredPiece {
  std::string_view text;  // UTF-8
  double score = 0;
};

// What transformers makes of such a vocabulary. vocabulary: ids by piece; added_tokens: as in tokenizer.json; pieces:
// the ordinary ones, by id; adds_dummy_prefix: text begins with a blank.
nlohmann::json sentencepiece_tokenizer_json(nlohmann::json vocabulary, nlohmann::json added_tokens,
                                            std::span<const ScoredPiece> pieces, bool adds_dummy_prefix);

}  // namespace millrace
