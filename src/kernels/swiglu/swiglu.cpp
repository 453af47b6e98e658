#include "kernels/swiglu/swiglu.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/swiglu/swiglu_cpu.h"

namespace millrace {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

class Swiglu : public torch::autograd::Function<Swiglu> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& gate_BLF, const Tensor& up_BLF) {
    const Tensor y_BLF = torch::empty(gate_BLF.sizes(), gate_BLF.options());
    swiglu_forward(gate_BLF, up_BLF, y_BLF);
    context->save_for_backward({gate_BLF, up_BLF});
    return y_BLF;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor dgate_BLF = torch::empty(saved[0].sizes(), saved[0].options()), dup_BLF = torch::empty_like(dgate_BLF);
    swiglu_backward(gradients[0].contiguous(), saved[0], saved[1], dgate_BLF, dup_BLF);
    return {dgate_BLF, dup_BLF};
  }
};

}  // namespace

void swiglu_forward(const Tensor& gate_BLF, const Tensor& up_BLF, const Tensor& y_BLF) {
  const RowsShape shape = rows_shape(gate_BLF);
  check_rows(up_BLF, shape, gate_BLF);
  check_rows(y_BLF, shape, gate_BLF);
  const SwigluForwardArgs args{.batch = shape.batch,
                               .length = shape.length,
                               .dim = shape.dim,
                               .type = element_type(gate_BLF),
                               .gate = rows_of(gate_BLF),
                               .up = rows_of(up_BLF),
                               .y = rows_of(y_BLF)};
  if (nothing_to_compute(gate_BLF)) return;
  if (on_cuda(gate_BLF)) {
    const DeviceScope scope(gate_BLF);
    swiglu_forward_cuda(args, cuda_stream(gate_BLF));
  } else {
    swiglu_forward_cpu(args);
  }
}

void swiglu_backward(const Tensor& dy_BLF, const Tensor& gate_BLF, const Tensor& up_BLF, const Tensor& dgate_BLF,
                     const Tensor& dup_BLF) {
  const RowsShape shape = rows_shape(gate_BLF);
  for (const Tensor* x : {&dy_BLF, &up_BLF, &dgate_BLF, &dup_BLF}) check_rows(*x, shape, gate_BLF);
  const SwigluBackwardArgs args{.batch = shape.batch,
                                .length = shape.length,
                                .dim = shape.dim,
                                .type = element_type(gate_BLF),
                                .dy = rows_of(dy_BLF),
                                .gate = rows_of(gate_BLF),
                                .up = rows_of(up_BLF),
                                .dgate = rows_of(dgate_BLF),
                                .dup = rows_of(dup_BLF)};
  if (nothing_to_compute(gate_BLF)) return;
  if (on_cuda(gate_BLF)) {
    const DeviceScope scope(gate_BLF);
    swiglu_backward_cuda(args, cuda_stream(gate_BLF));
  } else {
    swiglu_backward_cpu(args);
  }
}

Tensor swiglu(const Tensor& gate_BLF, const Tensor& up_BLF) {
  return Swiglu::apply(gate_BLF, up_BLF);
}

}  // namespace millrace
