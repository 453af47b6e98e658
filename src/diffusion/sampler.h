// Pictures from a flow model: Euler steps from noise to data.
#pragma once

#include <torch/types.h>

#include <functional>
#include <optional>
#include <vector>

namespace millrace {

// num_steps + 1 times from 1 (noise) to 0 (data). With a token count they are shifted towards noise as in Black Forest
// Labs' inference code for FLUX.1-dev: t' = e^mu / (e^mu + 1/t - 1), mu linear in the image tokens through
// (256, 0.5) and (4096, 1.15). FLUX.1-schnell is not shifted.
std::vector<double> sampling_times(int64_t num_steps, std::optional<int64_t> shift_for_tokens = std::nullopt);

// The model's velocity at x, dimension 0 the batch. With guidance the batch is doubled: first the samples without a
// prompt, then the same samples with theirs, so that one call of the model computes both.
using Velocity = std::function<torch::Tensor(const torch::Tensor& x, const torch::Tensor& t_B)>;

struct SamplerOptions {
  std::vector<double> times;
  double guidance_scale = 1;  // classifier-free guidance: v = v_empty + scale * (v_prompt - v_empty); 1: none
  bool is_guided() const { return guidance_scale != 1; }
};
// x: the starting noise, fp32. progress, when set, is called after each step.
torch::Tensor sample_flow(torch::Tensor x, const Velocity& velocity, const SamplerOptions& options,
                          const std::function<void(int64_t step)>& progress = {});

}  // namespace millrace
