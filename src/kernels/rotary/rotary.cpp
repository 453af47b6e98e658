#include "kernels/rotary/rotary.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/rotary/rotary_cpu.h"

namespace millrace {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

class Rotate : public torch::autograd::Function<Rotate> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_THK, const Tensor& cos_TP, const Tensor& sin_TP) {
    const Tensor y_THK = x_THK.clone(torch::MemoryFormat::Contiguous);
    rotate_in_place(y_THK, cos_TP, sin_TP);
    context->save_for_backward({cos_TP, sin_TP});
    return y_THK;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor dx_THK = gradients[0].clone(torch::MemoryFormat::Contiguous);
    rotate_in_place(dx_THK, saved[0], saved[1], /*inverse=*/true);
    return {dx_THK, Tensor(), Tensor()};
  }
};

}  // namespace

void rotate_in_place(const Tensor& x_THK, const Tensor& cos_TP, const Tensor& sin_TP, bool inverse) {
  MILLRACE_CHECK(x_THK.dim() == 3 && x_THK.size(2) % 2 == 0);
  const int64_t tokens = x_THK.size(0), pairs = x_THK.size(2) / 2;
  const RotaryArgs args{.tokens = tokens,
                        .heads = x_THK.size(1),
                        .pairs = pairs,
                        .type = element_type(x_THK),
                        .x = rows_of(x_THK),
                        .cos = stats_of(cos_TP, tokens * pairs, x_THK),
                        .sin = stats_of(sin_TP, tokens * pairs, x_THK),
                        .direction = inverse ? -1.0f : 1.0f};
  if (nothing_to_compute(x_THK)) return;
  if (on_cuda(x_THK)) {
    const DeviceScope scope(x_THK);
    rotary_cuda(args, cuda_stream(x_THK));
  } else {
    rotary_cpu(args);
  }
}

Tensor rotate(const Tensor& x_THK, const Tensor& cos_TP, const Tensor& sin_TP) {
  return Rotate::apply(x_THK, cos_TP, sin_TP);
}

}  // namespace millrace
