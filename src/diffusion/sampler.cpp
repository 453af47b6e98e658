#include "diffusion/sampler.h"

#include <cmath>

#include "base/error.h"
#include "diffusion/timestep_sampling.h"

namespace millrace {

std::vector<double> sampling_times(int64_t num_steps, std::optional<int64_t> shift_for_tokens) {
  MILLRACE_CHECK(num_steps > 0);
  std::vector<double> times;
  for (int64_t i = 0; i <= num_steps; ++i) {
    double t = 1.0 - static_cast<double>(i) / static_cast<double>(num_steps);
    if (shift_for_tokens && i > 0 && i < num_steps) {  // the ends stay where they are
      const double mu = flux_shift_mu(*shift_for_tokens);
      t = std::exp(mu) / (std::exp(mu) + 1 / t - 1);
    }
    times.push_back(t);
  }
  return times;
}

torch::Tensor sample_flow(torch::Tensor x, const Velocity& velocity, const SamplerOptions& options,
                          const std::function<void(int64_t step)>& progress) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i + 1 < options.times.size(); ++i) {
    const torch::Tensor both = options.is_guided() ? at::cat({x, x}, 0) : x;
    const torch::Tensor t_B = torch::full({both.size(0)}, options.times[i], x.options());
    torch::Tensor v = velocity(both, t_B).to(torch::kFloat32);
    if (options.is_guided()) {
      const std::vector<torch::Tensor> halves = v.chunk(2, 0);
      v = halves[0] + options.guidance_scale * (halves[1] - halves[0]);
    }
    x = x + (options.times[i + 1] - options.times[i]) * v;
    if (progress) progress(static_cast<int64_t>(i) + 1);
  }
  return x;
}

}  // namespace millrace
