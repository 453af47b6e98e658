#include "models/flux/flops.h"

namespace millrace::flux {

double train_flops_per_sample(const FluxConfig& sizes, int64_t image_tokens, int64_t text_tokens, bool frozen) {
  const auto h = static_cast<double>(sizes.hidden_size);
  const auto tokens = static_cast<double>(image_tokens + text_tokens);
  const auto blocks = static_cast<double>(sizes.depth + sizes.depth_single_blocks);
  // Per token and block: qkv 3 h^2, projection h^2, MLP 2 r h^2; the single block's fused layers add up to the same.
  const double linear = 2 * (4 + 2 * sizes.mlp_ratio) * h * h * tokens * blocks;
  const double attention = 4 * tokens * tokens * h * blocks;
  // Backward, each product of a layer has two gradients, of its input and of its weights.
  return (frozen ? 2 : 3) * linear + 3 * attention;
}

}  // namespace millrace::flux
