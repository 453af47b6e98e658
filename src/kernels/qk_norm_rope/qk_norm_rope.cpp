#include "kernels/qk_norm_rope/qk_norm_rope.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/qk_norm_rope/qk_norm_rope_cpu.h"

namespace millrace {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct Sizes {
  int64_t batch, length, heads, head_dim;
};

// qkv gives B and L; q (or its gradient) gives H and D.
Sizes sizes_of(const Tensor& qkv_BLE, const Tensor& q_BHTD) {
  const RowsShape shape = rows_shape(qkv_BLE);
  MILLRACE_CHECK(q_BHTD.dim() == 4 && q_BHTD.size(0) == shape.batch);
  const Sizes sizes{shape.batch, shape.length, q_BHTD.size(1), q_BHTD.size(3)};
  MILLRACE_CHECK(sizes.head_dim % 2 == 0 && sizes.head_dim >= 2 && sizes.head_dim <= kMaxHeadDim);
  MILLRACE_CHECK(shape.dim >= 3 * sizes.heads * sizes.head_dim);
  return sizes;
}

Heads heads_of(const Tensor& x_BHTD, const Sizes& sizes, int64_t offset, const Tensor& like) {
  MILLRACE_CHECK(x_BHTD.dim() == 4 && x_BHTD.size(0) == sizes.batch && x_BHTD.size(1) == sizes.heads);
  MILLRACE_CHECK(x_BHTD.size(3) == sizes.head_dim && x_BHTD.stride(3) == 1);
  MILLRACE_CHECK(offset >= 0 && offset + sizes.length <= x_BHTD.size(2));
  MILLRACE_CHECK(x_BHTD.scalar_type() == like.scalar_type() && x_BHTD.device() == like.device());
  char* const data = static_cast<char*>(data_of(x_BHTD));
  const int64_t begin = data == nullptr ? 0 : offset * x_BHTD.stride(2) * x_BHTD.element_size();
  return {data + begin, x_BHTD.stride(0), x_BHTD.stride(1), x_BHTD.stride(2)};
}

RopeRows rope_of(const Tensor& cos_LP, const Tensor& sin_LP, const Sizes& sizes, const Tensor& like) {
  for (const Tensor* table : {&cos_LP, &sin_LP}) {
    MILLRACE_CHECK(table->scalar_type() == torch::kFloat32 && table->device() == like.device());
    MILLRACE_CHECK(table->dim() == 2 || (table->dim() == 3 && table->size(0) == sizes.batch));
    MILLRACE_CHECK(table->size(-2) == sizes.length && table->size(-1) == sizes.head_dim / 2);
    MILLRACE_CHECK(table->stride(-1) == 1 || table->size(-1) == 1);
  }
  return {static_cast<float*>(data_of(cos_LP)),     static_cast<float*>(data_of(sin_LP)),
          cos_LP.dim() == 3 ? cos_LP.stride(0) : 0, cos_LP.stride(-2),
          sin_LP.dim() == 3 ? sin_LP.stride(0) : 0, sin_LP.stride(-2)};
}

class QkNormRope : public torch::autograd::Function<QkNormRope> {
 public:
  static tensor_list forward(AutogradContext* context, const Tensor& qkv_BLE, const std::optional<Tensor>& bias,
                             const Tensor& q_scale_D, const Tensor& k_scale_D, const Tensor& cos_LP,
                             const Tensor& sin_LP, int64_t num_heads, double eps) {
    const Tensor bias_E = bias.value_or(Tensor());
    const std::vector<int64_t> shape = {qkv_BLE.size(0), num_heads, qkv_BLE.size(1), q_scale_D.size(0)};
    const Tensor q = torch::empty(shape, qkv_BLE.options()), k = torch::empty_like(q), v = torch::empty_like(q);
    qk_norm_rope_forward({qkv_BLE, bias_E, q_scale_D, k_scale_D, cos_LP, sin_LP, eps, 0, q, k, v});
    context->save_for_backward({qkv_BLE, bias_E, q_scale_D, k_scale_D, cos_LP, sin_LP});
    context->saved_data["eps"] = eps;
    context->saved_data["num_heads"] = num_heads;
    return {q, k, v};
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &qkv_BLE = saved[0], &bias_E = saved[1], &q_scale_D = saved[2], &k_scale_D = saved[3];
    const int64_t num_heads = context->saved_data["num_heads"].toInt(), head_dim = q_scale_D.size(0);
    for (Tensor& gradient : gradients) {
      gradient = gradient.defined()
                     ? gradient.contiguous()
                     : torch::zeros({qkv_BLE.size(0), num_heads, qkv_BLE.size(1), head_dim}, qkv_BLE.options());
    }
    // Columns beyond 3*H*D are ignored.
    const bool exact = qkv_BLE.size(2) == 3 * num_heads * head_dim;
    const Tensor dqkv_BLE =
        exact ? torch::empty(qkv_BLE.sizes(), qkv_BLE.options()) : torch::zeros(qkv_BLE.sizes(), qkv_BLE.options());
    const Tensor dq_scale_D = torch::empty_like(q_scale_D), dk_scale_D = torch::empty_like(k_scale_D);
    const Tensor dbias_E = bias_E.defined() ? torch::empty_like(bias_E) : Tensor();
    qk_norm_rope_backward({.dq_BHTD = gradients[0],
                           .dk_BHTD = gradients[1],
                           .dv_BHTD = gradients[2],
                           .qkv_BLE = qkv_BLE,
                           .bias_E = bias_E,
                           .q_scale_D = q_scale_D,
                           .k_scale_D = k_scale_D,
                           .cos_LP = saved[4],
                           .sin_LP = saved[5],
                           .eps = context->saved_data["eps"].toDouble(),
                           .dqkv_BLE = dqkv_BLE,
                           .dq_scale_D = dq_scale_D,
                           .dk_scale_D = dk_scale_D,
                           .dbias_E = dbias_E,
                           .accumulate = false});
    return {dqkv_BLE, dbias_E, dq_scale_D, dk_scale_D, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

void qk_norm_rope_forward(const QkNormRopeForward& args) {
  const Tensor& qkv = args.qkv_BLE;
  const Sizes sizes = sizes_of(qkv, args.q_BHTD);
  const Tensor bias = kernel_floats(args.bias_E);
  const Tensor q_scale = kernel_floats(args.q_scale_D), k_scale = kernel_floats(args.k_scale_D);
  const QkNormRopeForwardArgs raw{.batch = sizes.batch,
                                  .length = sizes.length,
                                  .heads = sizes.heads,
                                  .head_dim = sizes.head_dim,
                                  .type = element_type(qkv),
                                  .eps = static_cast<float>(args.eps),
                                  .qkv = rows_of(qkv),
                                  .bias = float_rows_of(bias, 0, 3 * sizes.heads * sizes.head_dim, qkv),
                                  .q_scale = float_rows_of(q_scale, 0, sizes.head_dim, qkv),
                                  .k_scale = float_rows_of(k_scale, 0, sizes.head_dim, qkv),
                                  .rope = rope_of(args.cos_LP, args.sin_LP, sizes, qkv),
                                  .q = heads_of(args.q_BHTD, sizes, args.offset, qkv),
                                  .k = heads_of(args.k_BHTD, sizes, args.offset, qkv),
                                  .v = heads_of(args.v_BHTD, sizes, args.offset, qkv)};
  if (nothing_to_compute(qkv)) return;
  if (on_cuda(qkv)) {
    const DeviceScope scope(qkv);
    qk_norm_rope_forward_cuda(raw, cuda_stream(qkv));
  } else {
    qk_norm_rope_forward_cpu(raw);
  }
}

void qk_norm_rope_backward(const QkNormRopeBackward& args) {
  const Tensor& qkv = args.qkv_BLE;
  const Sizes sizes = sizes_of(qkv, args.dq_BHTD);
  const int64_t width = 3 * sizes.heads * sizes.head_dim;
  const RowsShape out_shape = rows_shape(args.dqkv_BLE);
  MILLRACE_CHECK(out_shape.batch == sizes.batch && out_shape.length == sizes.length && out_shape.dim >= width);
  check_rows(args.dqkv_BLE, out_shape, qkv);
  const Tensor bias = kernel_floats(args.bias_E);
  const Tensor q_scale = kernel_floats(args.q_scale_D), k_scale = kernel_floats(args.k_scale_D);
  const SumsTarget dq_scale(args.dq_scale_D), dk_scale(args.dk_scale_D), dbias(args.dbias_E);
  const QkNormRopeBackwardArgs raw{.batch = sizes.batch,
                                   .length = sizes.length,
                                   .heads = sizes.heads,
                                   .head_dim = sizes.head_dim,
                                   .type = element_type(qkv),
                                   .eps = static_cast<float>(args.eps),
                                   .dq = heads_of(args.dq_BHTD, sizes, args.offset, qkv),
                                   .dk = heads_of(args.dk_BHTD, sizes, args.offset, qkv),
                                   .dv = heads_of(args.dv_BHTD, sizes, args.offset, qkv),
                                   .qkv = rows_of(qkv),
                                   .dqkv = rows_of(args.dqkv_BLE),
                                   .bias = float_rows_of(bias, 0, width, qkv),
                                   .q_scale = float_rows_of(q_scale, 0, sizes.head_dim, qkv),
                                   .k_scale = float_rows_of(k_scale, 0, sizes.head_dim, qkv),
                                   .rope = rope_of(args.cos_LP, args.sin_LP, sizes, qkv),
                                   .dq_scale = float_rows_of(dq_scale.sums(), 0, sizes.head_dim, qkv),
                                   .dk_scale = float_rows_of(dk_scale.sums(), 0, sizes.head_dim, qkv),
                                   .dbias = float_rows_of(dbias.sums(), 0, width, qkv),
                                   .accumulate = args.accumulate};
  if (qkv.is_meta()) return;
  if (on_cuda(qkv)) {
    const DeviceScope scope(qkv);
    const Tensor partials = torch::empty({qk_norm_rope_partials_size(raw)}, qkv.options().dtype(torch::kFloat32));
    qk_norm_rope_backward_cuda(raw, partials.data_ptr<float>(), cuda_stream(qkv));
  } else {
    qk_norm_rope_backward_cpu(raw);
  }
  dq_scale.finish(args.accumulate);
  dk_scale.finish(args.accumulate);
  dbias.finish(args.accumulate);
}

std::tuple<Tensor, Tensor, Tensor> qk_norm_rope(const Tensor& qkv_BLE, const Tensor& bias_E, const Tensor& q_scale_D,
                                                const Tensor& k_scale_D, const Tensor& cos_LP, const Tensor& sin_LP,
                                                int64_t num_heads, double eps) {
  const tensor_list outputs =
      QkNormRope::apply(qkv_BLE, if_defined(bias_E), q_scale_D, k_scale_D, cos_LP, sin_LP, num_heads, eps);
  return {outputs[0], outputs[1], outputs[2]};
}

}  // namespace millrace
