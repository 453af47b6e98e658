#include "nn/linear_graph.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/error.h"
#include "nn/linear.h"

namespace millrace {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class LinearGraph : public torch::autograd::Function<LinearGraph> {
 public:
  static torch::Tensor forward(AutogradContext* ctx, const torch::Tensor& x, Linear* layer) {
    const torch::Tensor x_MK = x.flatten(0, -2);
    torch::Tensor out_MN = torch::empty({x_MK.size(0), layer->out_features()}, x.options());
    layer->forward(out_MN, x_MK);
    if (layer->bias().defined()) out_MN.add_(layer->bias());
    ctx->save_for_backward({x_MK});
    ctx->saved_data["layer"] = reinterpret_cast<int64_t>(layer);
    std::vector<int64_t> shape = x.sizes().vec();
    shape.back() = layer->out_features();
    return out_MN.view(shape);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const torch::NoGradGuard no_grad;
    auto* layer = reinterpret_cast<Linear*>(ctx->saved_data.at("layer").toInt());
    const torch::Tensor dx_MK = layer->backward(grads[0].flatten(0, -2).contiguous(), ctx->get_saved_variables()[0]);
    std::vector<int64_t> shape = grads[0].sizes().vec();
    shape.back() = layer->in_features();
    return {dx_MK.view(shape), torch::Tensor()};
  }
};

}  // namespace

torch::Tensor linear_with_graph(Linear& layer, const torch::Tensor& x) {
  MILLRACE_CHECK(x.requires_grad());  // otherwise the adapter's gradients would be lost
  return LinearGraph::apply(x, &layer);
}

torch::Tensor recomputed_gradient(const std::function<torch::Tensor(const torch::Tensor&)>& block,
                                  const torch::Tensor& x, const torch::Tensor& dy) {
  const torch::AutoGradMode with_graph(true);
  const torch::Tensor leaf = x.detach().requires_grad_(true);
  const torch::Tensor y = block(leaf);
  return torch::autograd::grad({y}, {leaf}, {dy.to(y.scalar_type())})[0];
}

}  // namespace millrace
