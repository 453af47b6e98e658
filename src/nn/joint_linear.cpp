#include "nn/joint_linear.h"

#include <algorithm>

#include "nn/gemm.h"
#include "nn/linear_rows.h"

namespace millrace {
namespace {

// The tensors joined along dimension 0; undefined if any is, or if they are not adjacent in memory.
torch::Tensor stacked_if_defined(const std::vector<torch::Tensor>& parts) {
  const bool all = std::all_of(parts.begin(), parts.end(), [](const torch::Tensor& part) { return part.defined(); });
  return all ? stacked(parts) : torch::Tensor();
}

}  // namespace

JointLinear::JointLinear(std::vector<std::shared_ptr<Linear>> layers) : layers_(std::move(layers)) {
  for (const auto& layer : layers_) {
    out_features_ += layer->out_features();
    with_bias_ |= layer->bias().defined();
  }
}

bool JointLinear::is_adapted() const {
  return std::any_of(layers_.begin(), layers_.end(), [](const auto& layer) { return layer->adapter() != nullptr; });
}

torch::Tensor JointLinear::joint_weight() const {
  std::vector<torch::Tensor> weights;
  for (const auto& layer : layers_) weights.push_back(layer->weight().dense());
  return stacked_if_defined(weights);
}

torch::Tensor JointLinear::joint_bias() const {
  std::vector<torch::Tensor> biases;
  for (const auto& layer : layers_) biases.push_back(layer->bias());
  return stacked_if_defined(biases);
}

std::vector<torch::Tensor> JointLinear::columns(const torch::Tensor& all) const {
  std::vector<torch::Tensor> parts;
  int64_t begin = 0;
  for (const auto& layer : layers_) {
    parts.push_back(all.narrow(-1, begin, layer->out_features()));
    begin += layer->out_features();
  }
  return parts;
}

torch::Tensor JointLinear::apply(const torch::Tensor& x) const {
  return is_joint() ? joint_product(x) : at::cat(apply_each(x), -1);
}

std::vector<torch::Tensor> JointLinear::apply_each(const torch::Tensor& x) const {
  if (!at::GradMode::is_enabled() && is_joint()) return columns(joint_product(x));
  std::vector<torch::Tensor> parts;
  for (const auto& layer : layers_) parts.push_back(layer->apply(x));
  return parts;
}

bool JointLinear::is_joint() const {
  return joint_weight().defined() && joint_bias().defined() == with_bias_;
}

torch::Tensor JointLinear::joint_product(const torch::Tensor& x) const {
  const torch::Tensor weight_NK = joint_weight(), bias_N = joint_bias();
  if (!is_adapted()) return linear_rows(x, weight_NK, bias_N);
  // Adapters complete the product without its bias, so the bias comes last.
  torch::Tensor out = linear_rows(x, weight_NK);
  const torch::Tensor x_MK = x.flatten(0, -2);
  const std::vector<torch::Tensor> parts_MN = columns(out.view({x_MK.size(0), out_features_}));
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (!layers_[i]->adapter()) continue;
    LinearPass pass;
    torch::Tensor part_MN = parts_MN[i];
    layers_[i]->adapter()->complete_forward(part_MN, x_MK, pass);
  }
  return bias_N.defined() ? out.add_(bias_N) : out;
}

torch::Tensor JointLinear::backward(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, bool wants_dx) {
  std::vector<LinearPass> passes(layers_.size());
  add_gradients(dy_MN, x_MK, passes);
  if (!wants_dx) return {};
  const std::vector<torch::Tensor> parts_MN = columns(dy_MN);
  const torch::Tensor weight_NK = joint_weight();
  torch::Tensor dx_MK;
  if (weight_NK.defined()) {
    dx_MK = matrix_product(base_gradient(dy_MN), weight_NK);
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (layers_[i]->adapter()) layers_[i]->adapter()->add_input_gradient(dx_MK, parts_MN[i], passes[i]);
    }
  } else {
    dx_MK = torch::empty({dy_MN.size(0), layers_.front()->in_features()}, dy_MN.options());
    for (size_t i = 0; i < layers_.size(); ++i) {
      layers_[i]->backward_input(dx_MK, parts_MN[i], /*accumulate=*/i > 0, &passes[i]);
    }
  }
  return dx_MK;
}

torch::Tensor JointLinear::base_gradient(const torch::Tensor& dy_MN) const {
  if (!is_adapted()) return dy_MN;
  std::vector<torch::Tensor> parts_MN = columns(dy_MN);
  bool changed = false;
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (!layers_[i]->adapter()) continue;
    const torch::Tensor base_MN = layers_[i]->adapter()->base_gradient(parts_MN[i]);
    changed |= !base_MN.is_same(parts_MN[i]);
    parts_MN[i] = base_MN;
  }
  return changed ? at::cat(parts_MN, 1) : dy_MN;
}

void JointLinear::add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK,
                                std::vector<LinearPass>& passes) {
  std::vector<torch::Tensor> weights, biases;
  for (const auto& layer : layers_) {
    const torch::Tensor weight_NK = layer->plain_weight();
    weights.push_back(weight_NK.defined() ? weight_NK.grad() : torch::Tensor());
    biases.push_back(layer->bias_gradient());
  }
  const std::vector<torch::Tensor> parts_MN = columns(dy_MN);
  if (torch::Tensor dweight_NK = stacked_if_defined(weights); dweight_NK.defined()) {
    gemm(dweight_NK, dy_MN.t(), x_MK, /*accumulate=*/true);
  } else {
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i]->backward_weight(parts_MN[i], x_MK, &passes[i]);
  }
  if (const torch::Tensor dbias_N = stacked_if_defined(biases); dbias_N.defined()) {
    add_bias_gradient(dbias_N, dy_MN);
  } else {
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (biases[i].defined()) add_bias_gradient(biases[i], parts_MN[i]);
    }
  }
}

}  // namespace millrace
