#include "nn/token_ids.h"

#include "base/error.h"

namespace millrace {

void check_token_ids(const std::string& what, const torch::Tensor& ids_BL, int64_t vocab_size) {
  if (ids_BL.scalar_type() != torch::kInt64 || ids_BL.dim() != 2 || ids_BL.numel() == 0) {
    throw ModelError("[" + what + ": input_ids] expected int64 [B, L] with at least one id, got another shape or type");
  }
  if (ids_BL.is_meta()) return;                               // a planned model has shapes alone
  const auto [low_0, high_0] = torch::aminmax(ids_BL.cpu());  // waits for a GPU once, not four times
  const int64_t low = low_0.item<int64_t>(), high = high_0.item<int64_t>();
  if (low < 0 || high >= vocab_size) {
    throw ModelError("[" + what + ": input_ids] expected ids from 0 to " + std::to_string(vocab_size - 1) + ", got " +
                     std::to_string(low) + " to " + std::to_string(high) +
                     " (try the tokenizer that belongs to these weights)");
  }
}

}  // namespace millrace
