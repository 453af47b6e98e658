#include "kernels/gate_residual/gate_residual.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/tensor_args.h"

namespace millrace {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

class GateResidual : public torch::autograd::Function<GateResidual> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x_BLD, const Tensor& y_BLD, const Tensor& gate_BD,
                        const std::optional<Tensor>& bias) {
    const Tensor bias_D = bias.value_or(Tensor());
    const Tensor out_BLD = torch::empty(x_BLD.sizes(), x_BLD.options());
    gate_residual_forward(x_BLD, y_BLD, gate_BD, bias_D, out_BLD);
    context->save_for_backward({y_BLD, gate_BD, bias_D});
    return out_BLD;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &y_BLD = saved[0], &gate_BD = saved[1], &bias_D = saved[2];
    const Tensor dout_BLD = gradients[0].contiguous();
    const Tensor dy_BLD = torch::empty(y_BLD.sizes(), y_BLD.options());
    const Tensor dgate_BD = torch::empty(gate_BD.sizes(), gate_BD.options());
    const Tensor dbias_D = bias_D.defined() ? torch::empty_like(bias_D) : Tensor();
    gate_residual_backward(dout_BLD, y_BLD, gate_BD, bias_D, dy_BLD, dgate_BD, dbias_D, false);
    return {gradients[0], dy_BLD, dgate_BD, dbias_D};
  }
};

class GateResidualNorm : public torch::autograd::Function<GateResidualNorm> {
 public:
  static tensor_list forward(AutogradContext* context, const Tensor& x_BLD, const Tensor& y_BLD, const Tensor& gate_BD,
                             const std::optional<Tensor>& bias, const Tensor& shift_BD, const Tensor& scale_BD,
                             double eps) {
    const Tensor bias_D = bias.value_or(Tensor());
    const Tensor out_BLD = torch::empty(x_BLD.sizes(), x_BLD.options());
    const Tensor n_BLD = torch::empty_like(out_BLD);
    const Tensor mean_BL = torch::empty({x_BLD.size(0), x_BLD.size(1)}, x_BLD.options().dtype(torch::kFloat32));
    const Tensor rstd_BL = torch::empty_like(mean_BL);
    gate_residual_norm_forward(
        {x_BLD, y_BLD, gate_BD, bias_D, shift_BD, scale_BD, eps, out_BLD, n_BLD, mean_BL, rstd_BL});
    context->save_for_backward({y_BLD, gate_BD, bias_D, scale_BD, out_BLD, mean_BL, rstd_BL});
    context->saved_data["shift_type"] = shift_BD.scalar_type();
    return {out_BLD, n_BLD};
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &gate_BD = saved[1], &bias_D = saved[2], &scale_BD = saved[3], &out_BLD = saved[4];
    const auto shift_type = context->saved_data["shift_type"].toScalarType();
    // The incoming gradient belongs to the engine: accumulate into a copy.
    const Tensor dout_BLD = gradients[0].defined() ? gradients[0].clone(torch::MemoryFormat::Contiguous)
                                                   : torch::zeros(out_BLD.sizes(), out_BLD.options());
    const Tensor dn_BLD =
        gradients[1].defined() ? gradients[1].contiguous() : torch::zeros(out_BLD.sizes(), out_BLD.options());
    const Tensor dshift_BD = torch::empty(scale_BD.sizes(), scale_BD.options().dtype(shift_type));
    const Tensor dscale_BD = torch::empty(scale_BD.sizes(), scale_BD.options());
    const Tensor dy_BLD = torch::empty(out_BLD.sizes(), out_BLD.options());
    const Tensor dgate_BD = torch::empty(gate_BD.sizes(), gate_BD.options());
    const Tensor dbias_D = bias_D.defined() ? torch::empty_like(bias_D) : Tensor();
    gate_residual_norm_backward({.dn_BLD = dn_BLD,
                                 .out_BLD = out_BLD,
                                 .scale_BD = scale_BD,
                                 .mean_BL = saved[5],
                                 .rstd_BL = saved[6],
                                 .y_BLD = saved[0],
                                 .gate_BD = gate_BD,
                                 .bias_D = bias_D,
                                 .dout_BLD = dout_BLD,
                                 .dshift_BD = dshift_BD,
                                 .dscale_BD = dscale_BD,
                                 .dy_BLD = dy_BLD,
                                 .dgate_BD = dgate_BD,
                                 .dbias_D = dbias_D,
                                 .accumulate_dbias = false});
    return {dout_BLD, dy_BLD, dgate_BD, dbias_D, dshift_BD, dscale_BD, Tensor()};
  }
};

}  // namespace

Tensor gate_residual(const Tensor& x_BLD, const Tensor& y_BLD, const Tensor& gate_BD, const Tensor& bias_D) {
  return GateResidual::apply(x_BLD, y_BLD, gate_BD, if_defined(bias_D));
}

std::tuple<Tensor, Tensor> gate_residual_norm(const Tensor& x_BLD, const Tensor& y_BLD, const Tensor& gate_BD,
                                              const Tensor& bias_D, const Tensor& shift_BD, const Tensor& scale_BD,
                                              double eps) {
  const tensor_list outputs =
      GateResidualNorm::apply(x_BLD, y_BLD, gate_BD, if_defined(bias_D), shift_BD, scale_BD, eps);
  return {outputs[0], outputs[1]};
}

}  // namespace millrace
