#include "diffusion/sampler.h"

#include <cmath>

#include "base/error.h"

namespace millrace {

std::vector<double> sampling_times(int64_t num_steps, std::optional<int64_t> shift_for_tokens) {
  MILLRACE_CHECK(num_steps > 0);
  std::vector<double> times;
  for (int64_t i = 0; i <= num_steps; ++i) {
    double t = 1.0 - static_cast<double>(i) / static_cast<double>(num_steps);
    if (shift_for_tokens && i > 0 && i < num_steps) {  // the ends stay where they are
      const double mu = 0.5 + (1.15 - 0.5) * (static_cast<double>(*shift_for_tokens) - 256) / (4096 - 256);
      t = std::exp(mu) / (std::exp(mu) + 1 / t - 1);
    }
    times.push_back(t);
  }
  return times;
}

torch::Tensor sample_flow(torch::Tensor x, const Velocity& with_prompt, const Velocity& without_prompt,
                          const SamplerOptions& options, const std::function<void(int64_t step)>& progress) {
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i + 1 < options.times.size(); ++i) {
    const torch::Tensor t_B = torch::full({x.size(0)}, options.times[i], x.options());
    torch::Tensor velocity = with_prompt(x, t_B).to(torch::kFloat32);
    if (options.guidance_scale != 1) {
      const torch::Tensor plain = without_prompt(x, t_B).to(torch::kFloat32);
      velocity = plain + options.guidance_scale * (velocity - plain);
    }
    x = x + (options.times[i + 1] - options.times[i]) * velocity;
    if (progress) progress(static_cast<int64_t>(i) + 1);
  }
  return x;
}

}  // namespace millrace
