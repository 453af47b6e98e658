#include "metrics/flops.h"

#include "metrics/hardware.h"

namespace millrace {

double flux_train_flops_per_sample(const FluxShape& shape) {
  const double h = static_cast<double>(shape.hidden_size);
  const double tokens = static_cast<double>(shape.image_tokens + shape.text_tokens);
  const double blocks = static_cast<double>(shape.depth + shape.depth_single_blocks);
  // Per token and block: qkv 3 h^2, projection h^2, MLP 2 r h^2; the single block's fused layers add up to the same.
  const double linear = 2 * (4 + 2 * shape.mlp_ratio) * h * h * tokens * blocks;
  const double attention = 4 * tokens * tokens * h * blocks;
  return 3 * (linear + attention);
}

std::optional<double> peak_flops(std::string_view device_name) {
  for (const GpuSpec& gpu : gpu_table()) {
    if (device_name.find(gpu.device) != std::string_view::npos) return gpu.bf16_flops;
  }
  return std::nullopt;
}

}  // namespace millrace
