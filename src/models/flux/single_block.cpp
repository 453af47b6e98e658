#include "models/flux/single_block.h"

#include "kernels/gate_residual/gate_residual.h"
#include "kernels/gelu/gelu.h"
#include "kernels/norm_modulate/norm_modulate.h"
#include "kernels/qk_norm_rope/qk_norm_rope.h"

namespace millrace::flux {

SingleBlock::SingleBlock(const FluxConfig& config, int64_t modulation_begin, int tp_size)
    : modulation(
          register_module("modulation", std::make_shared<Modulation>(config.hidden_size, 3 * config.hidden_size))),
      modulation_begin_(modulation_begin),
      attention_size_(config.hidden_size / tp_size),
      mlp_hidden_size_(config.mlp_hidden_size() / tp_size),
      linear1_(register_module("linear1",
                               std::make_shared<Linear>(config.hidden_size, 3 * attention_size_ + mlp_hidden_size_))),
      linear2_(
          register_module("linear2", std::make_shared<Linear>(attention_size_ + mlp_hidden_size_, config.hidden_size))),
      norm_(register_module("norm", std::make_shared<QkNorm>(config.head_dim()))) {}

std::vector<std::pair<std::string, torch::Tensor>> SingleBlock::unit_parameters() const {
  std::vector<std::pair<std::string, torch::Tensor>> parameters;
  for (const auto& item : named_parameters()) {
    if (item.key().find("modulation.") == std::string::npos) parameters.emplace_back(item.key(), item.value());
  }
  return parameters;
}

torch::Tensor SingleBlock::forward(const BlockContext& context, const torch::Tensor& x_BLD, Saved* saved, Keep keep) {
  Saved local;
  Saved& work = saved ? *saved : local;
  work.x_BLD = x_BLD;
  compute(context, work);
  const ModulationViews mod = modulation_views(context.modulation_BM, modulation_begin_, x_BLD.size(2));
  torch::Tensor out_BLD = torch::empty_like(x_BLD);
  gate_residual_forward(x_BLD, work.out_RD.view(x_BLD.sizes()), mod.gate_BD, linear2_->bias, out_BLD);
  if (saved && keep != Keep::kAll) {
    const Saved all = work;
    work = {};
    work.x_BLD = all.x_BLD;
    if (keep == Keep::kOutputs) {
      work.mean_BL = all.mean_BL, work.rstd_BL = all.rstd_BL;
      work.fused_RF = all.fused_RF, work.attention = all.attention, work.out_RD = all.out_RD;
    }
  }
  return out_BLD;
}

void SingleBlock::compute(const BlockContext& context, Saved& saved) {
  const torch::Tensor& x = saved.x_BLD;
  const int64_t batch = x.size(0), tokens = x.size(1), hidden_size = x.size(2);
  const ModulationViews mod = modulation_views(context.modulation_BM, modulation_begin_, hidden_size);
  if (!saved.normed_RD.defined()) {
    torch::Tensor normed_BLD = torch::empty_like(x);
    saved.mean_BL = torch::empty({batch, tokens}, x.options().dtype(torch::kFloat32));
    saved.rstd_BL = torch::empty_like(saved.mean_BL);
    norm_modulate_forward(x, mod.shift_BD, mod.scale_BD, kLayerNormEps, normed_BLD, saved.mean_BL, saved.rstd_BL);
    saved.normed_RD = normed_BLD.flatten(0, 1);
  }
  if (!saved.fused_RF.defined()) {
    saved.fused_RF = torch::empty({batch * tokens, linear1_->weight.size(0)}, x.options());
    linear_forward(saved.fused_RF, saved.normed_RD, linear1_->weight);
  }
  if (!saved.q_BHLD.defined()) {
    for (torch::Tensor* part : {&saved.q_BHLD, &saved.k_BHLD, &saved.v_BHLD}) {
      *part = torch::empty({batch, context.num_heads, tokens, context.head_dim}, x.options());
    }
    qk_norm_rope_forward({saved.fused_RF.narrow(1, 0, 3 * attention_size_).unflatten(0, {batch, tokens}),
                          linear1_->bias.narrow(0, 0, 3 * attention_size_), norm_->query_norm->scale,
                          norm_->key_norm->scale, context.rope.cos_LP, context.rope.sin_LP, context.qk_norm_eps,
                          /*offset=*/0, saved.q_BHLD, saved.k_BHLD, saved.v_BHLD});
  }
  if (!saved.attention.out_BHLD.defined()) {
    saved.attention = attention_forward(saved.q_BHLD, saved.k_BHLD, saved.v_BHLD);
  }
  if (!saved.joined_RC.defined()) {
    saved.joined_RC = torch::empty({batch * tokens, attention_size_ + mlp_hidden_size_}, x.options());
    saved.joined_RC.narrow(1, 0, attention_size_)
        .view({batch, tokens, context.num_heads, context.head_dim})
        .copy_(saved.attention.out_BHLD.transpose(1, 2));
    gelu_forward(saved.fused_RF.narrow(1, 3 * attention_size_, mlp_hidden_size_).unsqueeze(0),
                 linear1_->bias.narrow(0, 3 * attention_size_, mlp_hidden_size_),
                 saved.joined_RC.narrow(1, attention_size_, mlp_hidden_size_).unsqueeze(0));
  }
  if (!saved.out_RD.defined()) {
    saved.out_RD = torch::empty({batch * tokens, hidden_size}, x.options());
    linear_forward(saved.out_RD, saved.joined_RC, linear2_->weight);
    sum_over_tp(context, saved.out_RD).wait();
  }
}

torch::Tensor SingleBlock::backward(const BlockContext& context, Saved& saved, torch::Tensor dout_BLD) {
  compute(context, saved);
  const int64_t batch = dout_BLD.size(0), tokens = dout_BLD.size(1), hidden_size = dout_BLD.size(2);
  const ModulationViews mod = modulation_views(context.modulation_BM, modulation_begin_, hidden_size);
  const ModulationViews dmod = modulation_views(context.dmodulation_BM, modulation_begin_, hidden_size);

  torch::Tensor branch_BLD = torch::empty_like(dout_BLD);
  gate_residual_backward(dout_BLD, saved.out_RD.view(dout_BLD.sizes()), mod.gate_BD, linear2_->bias, branch_BLD,
                         dmod.gate_BD, linear2_->bias.grad(), /*accumulate_dbias=*/true);
  torch::Tensor branch_RD = branch_BLD.flatten(0, 1);
  linear_backward_weight(linear2_->weight.grad(), branch_RD, saved.joined_RC);
  torch::Tensor djoined_RC = saved.joined_RC;  // its last reader is done: reuse the memory
  linear_backward_input(djoined_RC, branch_RD, linear2_->weight);

  const AttentionGradients grads = attention_backward(djoined_RC.narrow(1, 0, attention_size_)
                                                          .view({batch, tokens, context.num_heads, context.head_dim})
                                                          .transpose(1, 2),
                                                      saved.q_BHLD, saved.k_BHLD, saved.v_BHLD, saved.attention);
  if (context.dangle_BLP.defined()) {
    add_angle_gradient(context.dangle_BLP, saved.q_BHLD, grads.dq_BHLD);
    add_angle_gradient(context.dangle_BLP, saved.k_BHLD, grads.dk_BHLD);
  }
  torch::Tensor dfused_RF = torch::empty_like(saved.fused_RF);
  ScaleGradients scales(context, *norm_);
  qk_norm_rope_backward({grads.dq_BHLD, grads.dk_BHLD, grads.dv_BHLD,
                         saved.fused_RF.narrow(1, 0, 3 * attention_size_).unflatten(0, {batch, tokens}),
                         linear1_->bias.narrow(0, 0, 3 * attention_size_), norm_->query_norm->scale,
                         norm_->key_norm->scale, context.rope.cos_LP, context.rope.sin_LP, context.qk_norm_eps,
                         /*offset=*/0, dfused_RF.narrow(1, 0, 3 * attention_size_).unflatten(0, {batch, tokens}),
                         scales.query_D, scales.key_D, linear1_->bias.grad().narrow(0, 0, 3 * attention_size_),
                         /*accumulate=*/true});
  gelu_backward(djoined_RC.narrow(1, attention_size_, mlp_hidden_size_).unsqueeze(0),
                saved.fused_RF.narrow(1, 3 * attention_size_, mlp_hidden_size_).unsqueeze(0),
                linear1_->bias.narrow(0, 3 * attention_size_, mlp_hidden_size_),
                dfused_RF.narrow(1, 3 * attention_size_, mlp_hidden_size_).unsqueeze(0),
                linear1_->bias.grad().narrow(0, 3 * attention_size_, mlp_hidden_size_), /*accumulate_dbias=*/true);
  scales.finish();
  linear_backward_input(branch_RD, dfused_RF, linear1_->weight);  // branch_BLD is now the gradient of the norm's output
  Work sum = sum_over_tp(context, branch_RD);
  linear_backward_weight(linear1_->weight.grad(), dfused_RF, saved.normed_RD);
  sum.wait();
  norm_modulate_backward(branch_BLD, saved.x_BLD, mod.scale_BD, saved.mean_BL, saved.rstd_BL, dout_BLD,
                         /*accumulate_dx=*/true, dmod.shift_BD, dmod.scale_BD);
  return dout_BLD;
}

}  // namespace millrace::flux
