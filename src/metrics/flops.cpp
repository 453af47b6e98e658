#include "metrics/flops.h"

#include <array>
#include <utility>

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
  // Vendors' data sheets, without sparsity. The more particular name comes first.
  constexpr auto kPeaks = std::to_array<std::pair<std::string_view, double>>({
      {"GB300", 2.5e15},
      {"GB200", 2.5e15},
      {"B300", 2.25e15},
      {"B200", 2.25e15},
      {"H200", 989e12},
      {"H100 NVL", 835e12},
      {"H100 PCIe", 756e12},
      {"H100", 989e12},
      {"A100", 312e12},
      {"L40S", 362e12},
      {"MI355X", 2.5e15},
      {"MI325X", 1300e12},
      {"MI300X", 1300e12},
      {"MI250X", 191.5e12},
  });
  for (const auto& [name, flops] : kPeaks) {
    if (device_name.find(name) != std::string_view::npos) return flops;
  }
  return std::nullopt;
}

}  // namespace millrace
