#include "models/llama/rope_frequencies.h"

#include <numbers>

namespace millrace::llama {

torch::Tensor rope_frequencies(const RopeConfig& rope, int64_t head_dim) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor exponents_P =
      torch::arange(0, head_dim, 2, torch::kInt64).to(torch::kFloat32) / static_cast<double>(head_dim);
  torch::Tensor frequencies_P = 1.0 / at::pow(rope.theta, exponents_P);
  if (rope.kind == RopeKind::kLinear) frequencies_P = frequencies_P / rope.factor;
  if (rope.kind != RopeKind::kLlama3) return frequencies_P;

  const double original = rope.original_max_position_embeddings;
  const double longest_blended = original / rope.low_freq_factor, shortest_blended = original / rope.high_freq_factor;
  const torch::Tensor wavelengths_P = 2 * std::numbers::pi / frequencies_P;
  const torch::Tensor stretched_P =
      at::where(wavelengths_P > longest_blended, frequencies_P / rope.factor, frequencies_P);
  const torch::Tensor kept_P =
      (original / wavelengths_P - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  const torch::Tensor blended_P = (1 - kept_P) * stretched_P / rope.factor + kept_P * stretched_P;
  const torch::Tensor is_blended_P = (wavelengths_P >= shortest_blended).logical_and(wavelengths_P <= longest_blended);
  return at::where(is_blended_P, blended_P, stretched_P);
}

RotaryTables rotary_tables(const torch::Tensor& positions_T, const torch::Tensor& frequencies_P) {
  const torch::Tensor angles_TP =
      positions_T.to(torch::kFloat32).unsqueeze(1) * frequencies_P.to(positions_T.device()).unsqueeze(0);
  return {angles_TP.cos(), angles_TP.sin()};
}

}  // namespace millrace::llama
