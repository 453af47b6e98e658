// The output layer of a language model and its cross entropy, a few rows of logits at a time: they never exist as a
// whole (at 128,256 classes and 8,192 tokens in bf16 they would be 2.1 GB, and their gradient as much again).
//
// Shape letters: T tokens, D hidden_size, V vocabulary.
#pragma once

#include <torch/types.h>

#include "comm/group.h"
#include "nn/linear.h"

namespace millrace {

// A label that trains nothing: the token's logits are not computed.
inline constexpr int64_t kIgnoredLabel = -100;

struct TokenLoss {
  double sum = 0;     // over the tokens with a label
  int64_t count = 0;  // of those
};

// A vocabulary that the ranks of a group share: each has its own rows of the output layer. Ranks call with the same
// tokens and labels, and all get the same losses and hidden gradients, to the bit. (Megatron-LM, arXiv 1909.08053,
// section 3.)
struct VocabularyShare {
  Group* ranks = nullptr;  // null: the layer has the whole vocabulary
  int64_t begin = 0;       // the class of the layer's first row
  int64_t whole = 0;       // classes of all ranks
};

// The loss of predicting labels_T (int64, [0, V) or kIgnoredLabel, already shifted) from hidden_TD by head, which has
// no bias. Waits for the device. Throws DataError for other labels. rows: of logits at a time; 0: so many equal
// parts of all tokens that each has at most 2^26 elements, or 128 rows.
TokenLoss linear_cross_entropy(const Linear& head, const torch::Tensor& hidden_TD, const torch::Tensor& labels_T,
                               const VocabularyShare& share = {}, int64_t rows = 0);

// The same, and the gradients of scale times the sum: dhidden_TD is overwritten (zero where there is no label), head's
// are added to.
TokenLoss linear_cross_entropy_with_gradients(Linear& head, const torch::Tensor& hidden_TD,
                                              const torch::Tensor& labels_T, double scale, torch::Tensor& dhidden_TD,
                                              const VocabularyShare& share = {}, int64_t rows = 0);

}  // namespace millrace
