#include "kernels/gelu/gelu.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/gelu/gelu_cpu.h"

namespace millrace {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

class Gelu : public torch::autograd::Function<Gelu> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_BLM, const std::optional<Tensor>& bias) {
    const Tensor bias_M = bias.value_or(Tensor());
    const Tensor y_BLM = torch::empty(x_BLM.sizes(), x_BLM.options());
    gelu_forward(x_BLM, bias_M, y_BLM);
    context->save_for_backward({x_BLM, bias_M});
    return y_BLM;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x_BLM = saved[0], &bias_M = saved[1];
    const Tensor dx_BLM = torch::empty(x_BLM.sizes(), x_BLM.options());
    const Tensor dbias_M = bias_M.defined() ? torch::empty_like(bias_M) : Tensor();
    gelu_backward(gradients[0].contiguous(), x_BLM, bias_M, dx_BLM, dbias_M, false);
    return {dx_BLM, dbias_M};
  }
};

}  // namespace

void gelu_forward(const Tensor& x_BLM, const Tensor& bias_M, const Tensor& y_BLM) {
  const RowsShape shape = rows_shape(x_BLM);
  check_rows(y_BLM, shape, x_BLM);
  const Tensor bias = kernel_floats(bias_M);
  const GeluForwardArgs args{.batch = shape.batch,
                             .length = shape.length,
                             .dim = shape.dim,
                             .type = element_type(x_BLM),
                             .x = rows_of(x_BLM),
                             .y = rows_of(y_BLM),
                             .bias = float_rows_of(bias, 0, shape.dim, x_BLM)};
  if (nothing_to_compute(x_BLM)) return;
  if (on_cuda(x_BLM)) {
    const DeviceScope scope(x_BLM);
    gelu_forward_cuda(args, cuda_stream(x_BLM));
  } else {
    gelu_forward_cpu(args);
  }
}

void gelu_backward(const Tensor& dy_BLM, const Tensor& x_BLM, const Tensor& bias_M, const Tensor& dx_BLM,
                   const Tensor& dbias_M, bool accumulate_dbias) {
  const RowsShape shape = rows_shape(x_BLM);
  check_rows(dy_BLM, shape, x_BLM);
  check_rows(dx_BLM, shape, x_BLM);
  const Tensor bias = kernel_floats(bias_M);
  const SumsTarget dbias(dbias_M);
  const GeluBackwardArgs args{.batch = shape.batch,
                              .length = shape.length,
                              .dim = shape.dim,
                              .type = element_type(x_BLM),
                              .dy = rows_of(dy_BLM),
                              .x = rows_of(x_BLM),
                              .dx = rows_of(dx_BLM),
                              .bias = float_rows_of(bias, 0, shape.dim, x_BLM),
                              .dbias = float_rows_of(dbias.sums(), 0, shape.dim, x_BLM),
                              .accumulate_dbias = accumulate_dbias};
  if (x_BLM.is_meta()) return;
  if (on_cuda(x_BLM)) {
    const DeviceScope scope(x_BLM);
    const Tensor partials = torch::empty({gelu_partials_size(args)}, x_BLM.options().dtype(torch::kFloat32));
    gelu_backward_cuda(args, partials.data_ptr<float>(), cuda_stream(x_BLM));
  } else {
    gelu_backward_cpu(args);
  }
  dbias.finish(accumulate_dbias);
}

Tensor gelu_tanh(const Tensor& x_BLM, const Tensor& bias_M) {
  return Gelu::apply(x_BLM, if_defined(bias_M));
}

}  // namespace millrace
