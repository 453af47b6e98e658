#include "kernels/gate_residual/gate_residual.h"

#include "kernels/gate_residual/gate_residual_cpu.h"

namespace millrace {
namespace {

using torch::Tensor;

void run_forward(const Tensor& x_BLD, const GateResidualForwardArgs& args, bool with_norm) {
  if (nothing_to_compute(x_BLD)) return;
  if (on_cuda(x_BLD)) {
    const DeviceScope scope(x_BLD);
    gate_residual_forward_cuda(args, with_norm, cuda_stream(x_BLD));
  } else {
    gate_residual_forward_cpu(args, with_norm);
  }
}

void run_backward(const Tensor& dout_BLD, const GateResidualBackwardArgs& args, bool with_norm) {
  if (dout_BLD.is_meta()) return;
  if (on_cuda(dout_BLD)) {
    const DeviceScope scope(dout_BLD);
    const Tensor partials =
        torch::empty({gate_residual_partials_size(args, with_norm)}, dout_BLD.options().dtype(torch::kFloat32));
    gate_residual_backward_cuda(args, with_norm, partials.data_ptr<float>(), cuda_stream(dout_BLD));
  } else if (with_norm) {
    gate_residual_norm_backward_cpu(args);
  } else {
    gate_residual_backward_cpu(args);
  }
}

}  // namespace

void gate_residual_forward(const Tensor& x_BLD, const Tensor& y_BLD, const Tensor& gate_BD, const Tensor& bias_D,
                           const Tensor& out_BLD) {
  const RowsShape shape = rows_shape(x_BLD);
  check_rows(y_BLD, shape, x_BLD);
  check_rows(out_BLD, shape, x_BLD);
  const Tensor gate = kernel_floats(gate_BD), bias = kernel_floats(bias_D);
  run_forward(x_BLD,
              {.batch = shape.batch,
               .length = shape.length,
               .dim = shape.dim,
               .type = element_type(x_BLD),
               .x = rows_of(x_BLD),
               .y = rows_of(y_BLD),
               .out = rows_of(out_BLD),
               .gate = float_rows_of(gate, shape.batch, shape.dim, x_BLD),
               .bias = float_rows_of(bias, 0, shape.dim, x_BLD)},
              /*with_norm=*/false);
}

void gate_residual_norm_forward(const GateResidualNormForward& args) {
  const RowsShape shape = rows_shape(args.x_BLD);
  for (const Tensor* rows : {&args.y_BLD, &args.out_BLD, &args.n_BLD}) check_rows(*rows, shape, args.x_BLD);
  const Tensor gate = kernel_floats(args.gate_BD), bias = kernel_floats(args.bias_D);
  const Tensor shift = kernel_floats(args.shift_BD), scale = kernel_floats(args.scale_BD);
  run_forward(args.x_BLD,
              {.batch = shape.batch,
               .length = shape.length,
               .dim = shape.dim,
               .type = element_type(args.x_BLD),
               .x = rows_of(args.x_BLD),
               .y = rows_of(args.y_BLD),
               .out = rows_of(args.out_BLD),
               .gate = float_rows_of(gate, shape.batch, shape.dim, args.x_BLD),
               .bias = float_rows_of(bias, 0, shape.dim, args.x_BLD),
               .eps = static_cast<float>(args.eps),
               .n = rows_of(args.n_BLD),
               .shift = float_rows_of(shift, shape.batch, shape.dim, args.x_BLD),
               .scale = float_rows_of(scale, shape.batch, shape.dim, args.x_BLD),
               .mean = stats_of(args.mean_BL, shape.batch * shape.length, args.x_BLD),
               .rstd = stats_of(args.rstd_BL, shape.batch * shape.length, args.x_BLD)},
              /*with_norm=*/true);
}

void gate_residual_backward(const Tensor& dout_BLD, const Tensor& y_BLD, const Tensor& gate_BD, const Tensor& bias_D,
                            const Tensor& dy_BLD, const Tensor& dgate_BD, const Tensor& dbias_D,
                            bool accumulate_dbias) {
  const RowsShape shape = rows_shape(dout_BLD);
  check_rows(y_BLD, shape, dout_BLD);
  check_rows(dy_BLD, shape, dout_BLD);
  MILLRACE_CHECK(dgate_BD.defined());
  const Tensor gate = kernel_floats(gate_BD), bias = kernel_floats(bias_D);
  const SumsTarget dgate(dgate_BD), dbias(dbias_D);
  run_backward(dout_BLD,
               {.batch = shape.batch,
                .length = shape.length,
                .dim = shape.dim,
                .type = element_type(dout_BLD),
                .dout = rows_of(dout_BLD),
                .y = rows_of(y_BLD),
                .dy = rows_of(dy_BLD),
                .gate = float_rows_of(gate, shape.batch, shape.dim, dout_BLD),
                .bias = float_rows_of(bias, 0, shape.dim, dout_BLD),
                .dgate = float_rows_of(dgate.sums(), shape.batch, shape.dim, dout_BLD),
                .dbias = float_rows_of(dbias.sums(), 0, shape.dim, dout_BLD),
                .accumulate_dbias = accumulate_dbias},
               /*with_norm=*/false);
  dgate.finish(false);
  dbias.finish(accumulate_dbias);
}

void gate_residual_norm_backward(const GateResidualNormBackward& args) {
  const RowsShape shape = rows_shape(args.dout_BLD);
  for (const Tensor* rows : {&args.y_BLD, &args.dy_BLD, &args.dn_BLD, &args.out_BLD}) {
    check_rows(*rows, shape, args.dout_BLD);
  }
  MILLRACE_CHECK(args.mean_BL.defined() && args.rstd_BL.defined());
  MILLRACE_CHECK(args.dgate_BD.defined() && args.dshift_BD.defined() && args.dscale_BD.defined());
  const Tensor gate = kernel_floats(args.gate_BD), bias = kernel_floats(args.bias_D);
  const Tensor scale = kernel_floats(args.scale_BD);
  const SumsTarget dgate(args.dgate_BD), dbias(args.dbias_D), dshift(args.dshift_BD), dscale(args.dscale_BD);
  run_backward(args.dout_BLD,
               {.batch = shape.batch,
                .length = shape.length,
                .dim = shape.dim,
                .type = element_type(args.dout_BLD),
                .dout = rows_of(args.dout_BLD),
                .y = rows_of(args.y_BLD),
                .dy = rows_of(args.dy_BLD),
                .gate = float_rows_of(gate, shape.batch, shape.dim, args.dout_BLD),
                .bias = float_rows_of(bias, 0, shape.dim, args.dout_BLD),
                .dgate = float_rows_of(dgate.sums(), shape.batch, shape.dim, args.dout_BLD),
                .dbias = float_rows_of(dbias.sums(), 0, shape.dim, args.dout_BLD),
                .accumulate_dbias = args.accumulate_dbias,
                .dn = rows_of(args.dn_BLD),
                .out = rows_of(args.out_BLD),
                .scale = float_rows_of(scale, shape.batch, shape.dim, args.dout_BLD),
                .dshift = float_rows_of(dshift.sums(), shape.batch, shape.dim, args.dout_BLD),
                .dscale = float_rows_of(dscale.sums(), shape.batch, shape.dim, args.dout_BLD),
                .mean = stats_of(args.mean_BL, shape.batch * shape.length, args.dout_BLD),
                .rstd = stats_of(args.rstd_BL, shape.batch * shape.length, args.dout_BLD)},
               /*with_norm=*/true);
  dgate.finish(false);
  dshift.finish(false);
  dscale.finish(false);
  dbias.finish(args.accumulate_dbias);
}

}  // namespace millrace
