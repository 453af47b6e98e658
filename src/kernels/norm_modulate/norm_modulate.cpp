#include "kernels/norm_modulate/norm_modulate.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/norm_modulate/norm_modulate_cpu.h"

namespace millrace {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

class NormModulate : public torch::autograd::Function<NormModulate> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_BLD, const Tensor& shift_BD, const Tensor& scale_BD,
                        double eps) {
    const Tensor y_BLD = torch::empty(x_BLD.sizes(), x_BLD.options());
    const Tensor mean_BL = torch::empty({x_BLD.size(0), x_BLD.size(1)}, x_BLD.options().dtype(torch::kFloat32));
    const Tensor rstd_BL = torch::empty_like(mean_BL);
    norm_modulate_forward(x_BLD, shift_BD, scale_BD, eps, y_BLD, mean_BL, rstd_BL);
    context->save_for_backward({x_BLD, scale_BD, mean_BL, rstd_BL});
    context->saved_data["shift_type"] = shift_BD.scalar_type();
    return y_BLD;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x_BLD = saved[0], &scale_BD = saved[1];
    const Tensor dx_BLD = torch::empty(x_BLD.sizes(), x_BLD.options());
    const auto shift_type = context->saved_data["shift_type"].toScalarType();
    const Tensor dshift_BD = torch::empty(scale_BD.sizes(), scale_BD.options().dtype(shift_type));
    const Tensor dscale_BD = torch::empty(scale_BD.sizes(), scale_BD.options());
    norm_modulate_backward(gradients[0].contiguous(), x_BLD, scale_BD, saved[2], saved[3], dx_BLD, false, dshift_BD,
                           dscale_BD);
    return {dx_BLD, dshift_BD, dscale_BD, Tensor()};
  }
};

}  // namespace

void norm_modulate_forward(const Tensor& x_BLD, const Tensor& shift_BD, const Tensor& scale_BD, double eps,
                           const Tensor& y_BLD, const Tensor& mean_BL, const Tensor& rstd_BL) {
  const RowsShape shape = rows_shape(x_BLD);
  check_rows(y_BLD, shape, x_BLD);
  const Tensor shift = kernel_floats(shift_BD), scale = kernel_floats(scale_BD);
  const NormModulateForwardArgs args{.batch = shape.batch,
                                     .length = shape.length,
                                     .dim = shape.dim,
                                     .type = element_type(x_BLD),
                                     .eps = static_cast<float>(eps),
                                     .x = rows_of(x_BLD),
                                     .y = rows_of(y_BLD),
                                     .shift = float_rows_of(shift, shape.batch, shape.dim, x_BLD),
                                     .scale = float_rows_of(scale, shape.batch, shape.dim, x_BLD),
                                     .mean = stats_of(mean_BL, shape.batch * shape.length, x_BLD),
                                     .rstd = stats_of(rstd_BL, shape.batch * shape.length, x_BLD)};
  if (nothing_to_compute(x_BLD)) return;
  if (on_cuda(x_BLD)) {
    const DeviceScope scope(x_BLD);
    norm_modulate_forward_cuda(args, cuda_stream(x_BLD));
  } else {
    norm_modulate_forward_cpu(args);
  }
}

void norm_modulate_backward(const Tensor& dy_BLD, const Tensor& x_BLD, const Tensor& scale_BD, const Tensor& mean_BL,
                            const Tensor& rstd_BL, const Tensor& dx_BLD, bool accumulate_dx, const Tensor& dshift_BD,
                            const Tensor& dscale_BD) {
  const RowsShape shape = rows_shape(x_BLD);
  check_rows(dy_BLD, shape, x_BLD);
  check_rows(dx_BLD, shape, x_BLD);
  MILLRACE_CHECK(mean_BL.defined() && rstd_BL.defined() && dshift_BD.defined() && dscale_BD.defined());
  const Tensor scale = kernel_floats(scale_BD);
  const SumsTarget dshift(dshift_BD), dscale(dscale_BD);
  const NormModulateBackwardArgs args{.batch = shape.batch,
                                      .length = shape.length,
                                      .dim = shape.dim,
                                      .type = element_type(x_BLD),
                                      .dy = rows_of(dy_BLD),
                                      .x = rows_of(x_BLD),
                                      .dx = rows_of(dx_BLD),
                                      .accumulate_dx = accumulate_dx,
                                      .scale = float_rows_of(scale, shape.batch, shape.dim, x_BLD),
                                      .mean = stats_of(mean_BL, shape.batch * shape.length, x_BLD),
                                      .rstd = stats_of(rstd_BL, shape.batch * shape.length, x_BLD),
                                      .dshift = float_rows_of(dshift.sums(), shape.batch, shape.dim, x_BLD),
                                      .dscale = float_rows_of(dscale.sums(), shape.batch, shape.dim, x_BLD)};
  if (x_BLD.is_meta()) return;
  if (on_cuda(x_BLD)) {
    const DeviceScope scope(x_BLD);
    const Tensor partials = torch::empty({norm_modulate_partials_size(args)}, x_BLD.options().dtype(torch::kFloat32));
    norm_modulate_backward_cuda(args, partials.data_ptr<float>(), cuda_stream(x_BLD));
  } else {
    norm_modulate_backward_cpu(args);
  }
  dshift.finish(false);
  dscale.finish(false);
}

Tensor norm_modulate(const Tensor& x_BLD, const Tensor& shift_BD, const Tensor& scale_BD, double eps) {
  return NormModulate::apply(x_BLD, shift_BD, scale_BD, eps);
}

}  // namespace millrace
