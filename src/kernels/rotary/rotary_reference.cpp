#include "kernels/rotary/rotary.h"

namespace millrace {

torch::Tensor rotate_reference(const torch::Tensor& x_THK, const torch::Tensor& cos_TP, const torch::Tensor& sin_TP) {
  const int64_t pairs = x_THK.size(2) / 2;
  const torch::Tensor first = x_THK.narrow(2, 0, pairs), second = x_THK.narrow(2, pairs, pairs);
  const torch::Tensor cos = cos_TP.unsqueeze(1).to(x_THK.scalar_type()),
                      sin = sin_TP.unsqueeze(1).to(x_THK.scalar_type());
  return at::cat({first * cos - second * sin, second * cos + first * sin}, 2);
}

}  // namespace millrace
