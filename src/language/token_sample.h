// What a language model is trained on: token ids, and the ids that it shall predict.
#pragma once

#include <cstdint>
#include <vector>

namespace millrace {

inline constexpr int32_t kMaskedLabel = -100;

struct TokenSample {
  std::vector<int32_t> tokens;
  std::vector<int32_t> labels;  // as long as tokens; kMaskedLabel where there is no loss
};

// Where labels stand: under the token itself, for a loop that shifts whole batches (torchtune 0.6.1), or under the
// token before it, the last one ignored (its main branch).
enum class LabelShift { kNone, kByOne };

// labels: the tokens, ignored where masked.
TokenSample labelled(std::vector<int32_t> tokens, const std::vector<bool>& masked, LabelShift shift);

}  // namespace millrace
