#include "kernels/rms_norm/rms_norm.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/rms_norm/rms_norm_cpu.h"

namespace millrace {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

Tensor statistics(const Tensor& x_BLD) {
  return torch::empty(x_BLD.sizes().slice(0, static_cast<size_t>(x_BLD.dim() - 1)),
                      x_BLD.options().dtype(torch::kFloat32));
}

class RmsNorm : public torch::autograd::Function<RmsNorm> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_BLD, const Tensor& weight_D, double eps) {
    const Tensor y_BLD = torch::empty(x_BLD.sizes(), x_BLD.options()), rstd_BL = statistics(x_BLD);
    rms_norm_forward(x_BLD, weight_D, eps, y_BLD, rstd_BL);
    context->save_for_backward({x_BLD, weight_D, rstd_BL});
    return y_BLD;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor dx_BLD = torch::empty(saved[0].sizes(), saved[0].options()), dweight_D = torch::empty_like(saved[1]);
    rms_norm_backward(gradients[0].contiguous(), saved[0], saved[1], saved[2], dx_BLD, false, dweight_D, false);
    return {dx_BLD, dweight_D, Tensor()};
  }
};

class AddRmsNorm : public torch::autograd::Function<AddRmsNorm> {
 public:
  static tensor_list forward(AutogradContext* context, const Tensor& x_BLD, const Tensor& branch_BLD,
                             const Tensor& weight_D, double eps) {
    const Tensor sum_BLD = torch::empty(x_BLD.sizes(), x_BLD.options()), y_BLD = torch::empty_like(sum_BLD),
                 rstd_BL = statistics(x_BLD);
    add_rms_norm_forward(x_BLD, branch_BLD, weight_D, eps, sum_BLD, y_BLD, rstd_BL);
    context->save_for_backward({sum_BLD, weight_D, rstd_BL});
    return {sum_BLD, y_BLD};
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor dsum_BLD = gradients[0].clone(torch::MemoryFormat::Contiguous);
    const Tensor dweight_D = torch::empty_like(saved[1]);
    rms_norm_backward(gradients[1].contiguous(), saved[0], saved[1], saved[2], dsum_BLD, true, dweight_D, false);
    return {dsum_BLD, dsum_BLD, dweight_D, Tensor()};
  }
};

void forward(const Tensor& x_BLD, const Tensor& branch_BLD, const Tensor& weight_D, double eps, const Tensor& sum_BLD,
             const Tensor& y_BLD, const Tensor& rstd_BL) {
  const RowsShape shape = rows_shape(x_BLD);
  check_rows(y_BLD, shape, x_BLD);
  const bool adds = branch_BLD.defined();
  if (adds) {
    check_rows(branch_BLD, shape, x_BLD);
    check_rows(sum_BLD, shape, x_BLD);
  }
  const Tensor weight = kernel_floats(weight_D);
  const RmsNormForwardArgs args{.batch = shape.batch,
                                .length = shape.length,
                                .dim = shape.dim,
                                .type = element_type(x_BLD),
                                .eps = static_cast<float>(eps),
                                .x = rows_of(x_BLD),
                                .branch = adds ? rows_of(branch_BLD) : Rows(),
                                .sum = adds ? rows_of(sum_BLD) : Rows(),
                                .y = rows_of(y_BLD),
                                .weight = float_rows_of(weight, 0, shape.dim, x_BLD),
                                .rstd = stats_of(rstd_BL, shape.batch * shape.length, x_BLD)};
  if (nothing_to_compute(x_BLD)) return;
  if (on_cuda(x_BLD)) {
    const DeviceScope scope(x_BLD);
    rms_norm_forward_cuda(args, cuda_stream(x_BLD));
  } else {
    rms_norm_forward_cpu(args);
  }
}

}  // namespace

void rms_norm_forward(const Tensor& x_BLD, const Tensor& weight_D, double eps, const Tensor& y_BLD,
                      const Tensor& rstd_BL) {
  forward(x_BLD, {}, weight_D, eps, {}, y_BLD, rstd_BL);
}

void add_rms_norm_forward(const Tensor& x_BLD, const Tensor& branch_BLD, const Tensor& weight_D, double eps,
                          const Tensor& sum_BLD, const Tensor& y_BLD, const Tensor& rstd_BL) {
  MILLRACE_CHECK(branch_BLD.defined());
  forward(x_BLD, branch_BLD, weight_D, eps, sum_BLD, y_BLD, rstd_BL);
}

void rms_norm_backward(const Tensor& dy_BLD, const Tensor& x_BLD, const Tensor& weight_D, const Tensor& rstd_BL,
                       const Tensor& dx_BLD, bool accumulate_dx, const Tensor& dweight_D, bool accumulate_dweight) {
  const RowsShape shape = rows_shape(x_BLD);
  check_rows(dy_BLD, shape, x_BLD);
  check_rows(dx_BLD, shape, x_BLD);
  const Tensor weight = kernel_floats(weight_D);
  const SumsTarget dweight(dweight_D);
  const RmsNormBackwardArgs args{.batch = shape.batch,
                                 .length = shape.length,
                                 .dim = shape.dim,
                                 .type = element_type(x_BLD),
                                 .dy = rows_of(dy_BLD),
                                 .x = rows_of(x_BLD),
                                 .dx = rows_of(dx_BLD),
                                 .accumulate_dx = accumulate_dx,
                                 .weight = float_rows_of(weight, 0, shape.dim, x_BLD),
                                 .rstd = stats_of(rstd_BL, shape.batch * shape.length, x_BLD),
                                 .dweight = float_rows_of(dweight.sums(), 0, shape.dim, x_BLD),
                                 .accumulate_dweight = accumulate_dweight};
  if (x_BLD.is_meta()) return;
  if (on_cuda(x_BLD)) {
    const DeviceScope scope(x_BLD);
    const Tensor partials = torch::empty({rms_norm_partials_size(args)}, x_BLD.options().dtype(torch::kFloat32));
    rms_norm_backward_cuda(args, partials.data_ptr<float>(), cuda_stream(x_BLD));
  } else {
    rms_norm_backward_cpu(args);
  }
  dweight.finish(accumulate_dweight);
}

Tensor rms_norm(const Tensor& x_BLD, const Tensor& weight_D, double eps) {
  return RmsNorm::apply(x_BLD, weight_D, eps);
}

std::pair<Tensor, Tensor> add_rms_norm(const Tensor& x_BLD, const Tensor& branch_BLD, const Tensor& weight_D,
                                       double eps) {
  const tensor_list results = AddRmsNorm::apply(x_BLD, branch_BLD, weight_D, eps);
  return {results[0], results[1]};
}

}  // namespace millrace
