// FLUX's initial weights, as in torchtitan and the MLPerf reference.
#include <cmath>

#include "base/files.h"
#include "base/text.h"
#include "kernels/philox_fill/philox_fill.h"
#include "models/flux/model.h"

namespace millrace::flux {
namespace {

enum class Init { kZeros, kOnes, kNormal, kXavierUniform };

Init init_of(const std::string& name) {
  if (ends_with(name, ".scale")) return Init::kOnes;
  if (ends_with(name, ".bias")) return Init::kZeros;
  const bool zero = name.find("_mod.lin.") != std::string::npos || name.find(".modulation.lin.") != std::string::npos ||
                    starts_with(name, "final_layer.");
  if (zero) return Init::kZeros;
  if (starts_with(name, "time_in.") || starts_with(name, "vector_in.") || starts_with(name, "guidance_in.")) {
    return Init::kNormal;
  }
  return Init::kXavierUniform;
}

}  // namespace

void Flux::initialize(uint64_t seed) {
  const torch::NoGradGuard no_grad;
  const auto fp32 = torch::TensorOptions().dtype(torch::kFloat32).device(flat_->compute().device());
  for (const ParameterSlice& slice : flat_->slices()) {
    if (!flat_->owns(slice)) continue;
    // Whole tensors, one at a time: a rank takes its part.
    const std::vector<int64_t> shape = slice.part.global_shape(slice.shape);
    const RandomStream stream =
        random_stream(seed, RandomPurpose::kInit, 0, checksum64(slice.name.data(), slice.name.size()));
    switch (init_of(slice.name)) {
      case Init::kZeros:
        flat_->assign(slice, torch::zeros({1}, fp32).expand(shape));
        break;
      case Init::kOnes:
        flat_->assign(slice, torch::ones({1}, fp32).expand(shape));
        break;
      case Init::kNormal: {
        torch::Tensor values = torch::empty(shape, fp32);
        philox_fill_normal(values.view({1, -1}), {stream});
        flat_->assign(slice, values.mul_(0.02));
        break;
      }
      case Init::kXavierUniform: {
        // Fan in and out of the whole fused matrix: q, k and v (and the MLP of a single block) share one bound.
        const double bound = std::sqrt(6.0 / static_cast<double>(shape[0] + shape[1]));
        torch::Tensor values = torch::empty(shape, fp32);
        philox_fill_uniform(values.view({1, -1}), {stream});
        flat_->assign(slice, values.mul_(2 * bound).sub_(bound));
        break;
      }
    }
  }
  flat_->refresh_compute();
}

}  // namespace millrace::flux
