#include "kernels/cross_entropy/cross_entropy.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/cross_entropy/cross_entropy_cpu.h"

namespace millrace {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

class CrossEntropy : public torch::autograd::Function<CrossEntropy> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& logits_RV, const Tensor& labels_R) {
    const Tensor dlogits_RV = logits_RV.clone(torch::MemoryFormat::Contiguous);
    const Tensor losses_R = torch::empty({logits_RV.size(0)}, logits_RV.options().dtype(torch::kFloat32));
    cross_entropy_in_place(dlogits_RV, labels_R, losses_R, 1);
    context->save_for_backward({dlogits_RV});
    return losses_R;
  }
  static tensor_list backward(AutogradContext* context, tensor_list gradients) {
    const Tensor dlogits_RV = context->get_saved_variables()[0];
    const Tensor scaled_RV = dlogits_RV.to(torch::kFloat32) * gradients[0].unsqueeze(1);
    return {scaled_RV.to(dlogits_RV.scalar_type()), Tensor()};
  }
};

void run(const Tensor& logits_RV, const Tensor& labels_R, const Tensor& losses_R, bool with_gradient, double scale) {
  MILLRACE_CHECK(logits_RV.dim() == 2 && logits_RV.size(1) > 0);
  const int64_t rows = logits_RV.size(0);
  MILLRACE_CHECK(labels_R.scalar_type() == torch::kInt64 && labels_R.is_contiguous() && labels_R.numel() == rows);
  MILLRACE_CHECK(labels_R.device() == logits_RV.device());
  const CrossEntropyArgs args{.rows = rows,
                              .classes = logits_RV.size(1),
                              .type = element_type(logits_RV),
                              .logits = rows_of(logits_RV),
                              .labels = static_cast<const int64_t*>(data_of(labels_R)),
                              .losses = stats_of(losses_R, rows, logits_RV),
                              .with_gradient = with_gradient,
                              .scale = static_cast<float>(scale)};
  if (nothing_to_compute(logits_RV)) return;
  if (on_cuda(logits_RV)) {
    const DeviceScope scope(logits_RV);
    cross_entropy_cuda(args, cuda_stream(logits_RV));
  } else {
    cross_entropy_cpu(args);
  }
}

}  // namespace

void cross_entropy_forward(const Tensor& logits_RV, const Tensor& labels_R, const Tensor& losses_R) {
  run(logits_RV, labels_R, losses_R, /*with_gradient=*/false, 1);
}

void cross_entropy_in_place(const Tensor& logits_RV, const Tensor& labels_R, const Tensor& losses_R, double scale) {
  run(logits_RV, labels_R, losses_R, /*with_gradient=*/true, scale);
}

Tensor cross_entropy(const Tensor& logits_RV, const Tensor& labels_R) {
  return CrossEntropy::apply(logits_RV, labels_R);
}

}  // namespace millrace
