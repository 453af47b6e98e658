#include "models/flux/layers.h"

namespace millrace::flux {

Scale::Scale(int64_t dim) {
  scale = register_parameter("scale", unplaced_parameter({dim}), /*requires_grad=*/false);
}

QkNorm::QkNorm(int64_t head_dim)
    : query_norm(register_module("query_norm", std::make_shared<Scale>(head_dim))),
      key_norm(register_module("key_norm", std::make_shared<Scale>(head_dim))) {}

SelfAttention::SelfAttention(int64_t hidden_size, int64_t attention_size, int64_t head_dim)
    : qkv(register_module("qkv", std::make_shared<Linear>(hidden_size, 3 * attention_size))),
      proj(register_module("proj", std::make_shared<Linear>(attention_size, hidden_size))),
      norm(register_module("norm", std::make_shared<QkNorm>(head_dim))) {}

Mlp::Mlp(int64_t hidden_size, int64_t mlp_hidden_size)
    : in(register_module("0", std::make_shared<Linear>(hidden_size, mlp_hidden_size))),
      out(register_module("2", std::make_shared<Linear>(mlp_hidden_size, hidden_size))) {}

Modulation::Modulation(int64_t hidden_size, int64_t num_outputs)
    : lin(register_module("lin", std::make_shared<Linear>(hidden_size, num_outputs))) {}

MlpEmbedder::MlpEmbedder(int64_t in_dim, int64_t hidden_size)
    : in_layer(register_module("in_layer", std::make_shared<Linear>(in_dim, hidden_size))),
      out_layer(register_module("out_layer", std::make_shared<Linear>(hidden_size, hidden_size))) {}

torch::Tensor MlpEmbedder::forward(const torch::Tensor& x_BN, Saved* saved) const {
  const torch::Tensor hidden_BD = in_layer->apply(x_BN);
  if (saved) *saved = {x_BN, hidden_BD};
  return out_layer->apply(at::silu(hidden_BD));
}

torch::Tensor MlpEmbedder::backward(const torch::Tensor& dout_BD, const Saved& saved) {
  const torch::Tensor dactivated_BD = out_layer->backward(dout_BD, at::silu(saved.hidden_BD));
  return in_layer->backward(at::silu_backward(dactivated_BD, saved.hidden_BD), saved.x_BN);
}

ModulationViews modulation_views(const torch::Tensor& modulation_BM, int64_t begin, int64_t hidden_size) {
  return {modulation_BM.narrow(1, begin, hidden_size), modulation_BM.narrow(1, begin + hidden_size, hidden_size),
          modulation_BM.narrow(1, begin + 2 * hidden_size, hidden_size)};
}

void add_angle_gradient(const torch::Tensor& dangle_BLP, const torch::Tensor& rotated_BHLK,
                        const torch::Tensor& drotated_BHLK) {
  const auto pairs = [](const torch::Tensor& x) { return x.to(torch::kFloat32).unflatten(3, {-1, 2}); };
  const torch::Tensor x = pairs(rotated_BHLK), dx = pairs(drotated_BHLK);
  const torch::Tensor turned = dx.select(4, 1) * x.select(4, 0) - dx.select(4, 0) * x.select(4, 1);
  dangle_BLP.add_(turned.sum(1));
}

}  // namespace millrace::flux
