// The device-dependent part of tensor_args.h. tests/gpu_emulation has a twin of this file.
#include <c10/core/impl/VirtualGuardImpl.h>

#include "kernels/tensor_args.h"

namespace millrace {

bool on_cuda(const torch::Tensor& x) {
  MILLRACE_CHECK(x.is_cpu() || x.is_cuda());
  return x.is_cuda();
}

torch::Tensor kernel_floats(const torch::Tensor& x) {
  if (!x.defined()) return x;
  const torch::Tensor y = x.is_cpu() ? x.detach().to(torch::kFloat32) : x.detach();
  return y.stride(-1) == 1 || y.size(-1) <= 1 ? y : y.contiguous();
}

SumsTarget::SumsTarget(const torch::Tensor& target) : target_(target) {
  if (!target.defined() || !target.is_cpu()) {
    sums_ = target;
  } else {
    sums_ = torch::empty(target.sizes(), torch::kFloat32);
  }
}

void SumsTarget::finish(bool accumulate) const {
  if (!target_.defined() || !target_.is_cpu()) return;
  const torch::Tensor plain = target_.detach();
  if (accumulate) {
    plain.add_(sums_);
  } else {
    plain.copy_(sums_);
  }
}

void* cuda_stream(const torch::Tensor& x) {
  return c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(x.device()).native_handle();
}

}  // namespace millrace
