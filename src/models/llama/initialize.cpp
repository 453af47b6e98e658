// Initial weights of a model that is trained from nothing, as transformers' LlamaForCausalLM has them.
#include "base/files.h"
#include "base/text.h"
#include "kernels/philox_fill/philox_fill.h"
#include "models/llama/model.h"

namespace millrace::llama {

void Llama::initialize(uint64_t seed) {
  const torch::NoGradGuard no_grad;
  const auto fp32 = torch::TensorOptions().dtype(torch::kFloat32).device(flat_->compute().device());
  for (const ParameterSlice& slice : flat_->slices()) {
    if (!flat_->owns(slice)) continue;
    // Whole tensors, one at a time: a rank takes its part.
    const std::vector<int64_t> shape = slice.part.global_shape(slice.shape);
    const bool is_matrix = shape.size() == 2;
    if (!is_matrix) {
      const float value = ends_with(slice.name, ".bias") ? 0.0F : 1.0F;  // norms start as 1
      flat_->assign(slice, torch::full({1}, value, fp32).expand(shape));
      continue;
    }
    torch::Tensor values = torch::empty(shape, fp32);
    philox_fill_normal(values.view({1, -1}), {random_stream(seed, RandomPurpose::kInit, 0,
                                                            checksum64(slice.name.data(), slice.name.size()))});
    flat_->assign(slice, values.mul_(0.02));  // transformers' initializer_range
  }
  flat_->refresh_compute();
}

}  // namespace millrace::llama
