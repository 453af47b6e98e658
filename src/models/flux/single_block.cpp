// The single block, phase by phase. Text and image tokens are one sequence here, and attention and MLP read the same
// norm, so that they share one GEMM in and one out.
//
// Forward (compute, then the end of forward):
//   1. normed_RD = norm(x) modulated
//   2. fused_RG = normed Wlinear1: the first E columns are q, k and v, the other F the MLP's
//   3. q, k, v [B, H, L, K] from the first E columns (bias, QK norm, rope);  attention
//   4. joined_RJ = attention's output [R, W] beside gelu(the MLP's columns + bias) [R, F]
//   5. out_RD = joined Wlinear2;  block output = x + gate * (out + bias)
//
// Backward first reruns 1 to 5 for the tensors that `Keep` dropped, then processes them in reverse. Three buffers hold
// the gradients: dout_BLD is the residual's and becomes x's; branch_BLD is out_RD's, later normed_RD's; djoined_RJ
// reuses the memory of joined_RJ. The kernels that read a product's output add its bias, and sum the bias's
// gradient.
#include "models/flux/single_block.h"

#include "kernels/gate_residual/gate_residual.h"
#include "kernels/gelu/gelu.h"
#include "kernels/norm_modulate/norm_modulate.h"
#include "kernels/qk_norm_rope/qk_norm_rope.h"
#include "parallel/tensor_parallel.h"

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
  gate_residual_forward(x_BLD, work.out_RD.view(x_BLD.sizes()), mod.gate_BD, linear2_->bias(), out_BLD);
  if (saved && keep != Keep::kAll) {
    const Saved all = work;
    work = {};
    work.x_BLD = all.x_BLD;
    if (keep == Keep::kOutputs) {
      work.mean_BL = all.mean_BL, work.rstd_BL = all.rstd_BL, work.attention = all.attention;
      work.fused_RG = all.fused_RG, work.linear1_pass = all.linear1_pass;
      work.out_RD = all.out_RD, work.linear2_pass = all.linear2_pass;
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
  if (!saved.fused_RG.defined()) {
    saved.fused_RG = torch::empty({batch * tokens, linear1_->out_features()}, x.options());
    linear1_->forward(saved.fused_RG, saved.normed_RD, &saved.linear1_pass);
  }
  if (!saved.q_BHLK.defined()) {
    for (torch::Tensor* part : {&saved.q_BHLK, &saved.k_BHLK, &saved.v_BHLK}) {
      *part = torch::empty({batch, context.num_heads, tokens, context.head_dim}, x.options());
    }
    qk_norm_rope_forward({saved.fused_RG.narrow(1, 0, 3 * attention_size_).unflatten(0, {batch, tokens}),
                          linear1_->bias().narrow(0, 0, 3 * attention_size_), norm_->query_norm->scale,
                          norm_->key_norm->scale, context.rope.cos_LP, context.rope.sin_LP, context.qk_norm_eps,
                          /*offset=*/0, saved.q_BHLK, saved.k_BHLK, saved.v_BHLK});
  }
  if (!saved.attention.out_BHLD.defined()) {
    saved.attention = attention_forward(saved.q_BHLK, saved.k_BHLK, saved.v_BHLK, context.padding);
  }
  // Both halves are written directly to where linear2 reads them.
  if (!saved.joined_RJ.defined()) {
    saved.joined_RJ = torch::empty({batch * tokens, attention_size_ + mlp_hidden_size_}, x.options());
    saved.joined_RJ.narrow(1, 0, attention_size_)
        .view({batch, tokens, context.num_heads, context.head_dim})
        .copy_(saved.attention.out_BHLD.transpose(1, 2));
    gelu_forward(saved.fused_RG.narrow(1, 3 * attention_size_, mlp_hidden_size_).unsqueeze(0),
                 linear1_->bias().narrow(0, 3 * attention_size_, mlp_hidden_size_),
                 saved.joined_RJ.narrow(1, attention_size_, mlp_hidden_size_).unsqueeze(0));
  }
  if (!saved.out_RD.defined()) {
    saved.out_RD = torch::empty({batch * tokens, hidden_size}, x.options());
    linear2_->forward(saved.out_RD, saved.joined_RJ, &saved.linear2_pass);
    sum_over_tp(context.tp, saved.out_RD).wait();
  }
}

torch::Tensor SingleBlock::backward(const BlockContext& context, Saved& saved, torch::Tensor dout_BLD) {
  compute(context, saved);  // recompute the dropped tensors
  const int64_t batch = dout_BLD.size(0), tokens = dout_BLD.size(1), hidden_size = dout_BLD.size(2);
  const int64_t qkv_size = 3 * attention_size_;
  const ModulationViews mod = modulation_views(context.modulation_BM, modulation_begin_, hidden_size);
  const ModulationViews dmod = modulation_views(context.dmodulation_BM, modulation_begin_, hidden_size);

  // The residual: branch_BLD becomes the gradient of out_RD.
  torch::Tensor branch_BLD = torch::empty_like(dout_BLD);
  gate_residual_backward(dout_BLD, saved.out_RD.view(dout_BLD.sizes()), mod.gate_BD, linear2_->bias(), branch_BLD,
                         dmod.gate_BD, linear2_->bias_gradient(), /*accumulate_dbias=*/true);

  // linear2: the gradient of joined_RJ.
  torch::Tensor branch_RD = branch_BLD.flatten(0, 1);
  linear2_->backward_weight(branch_RD, saved.joined_RJ, &saved.linear2_pass);
  torch::Tensor djoined_RJ = saved.joined_RJ;  // no longer needed: reuse the memory
  linear2_->backward_input(djoined_RJ, branch_RD, /*accumulate=*/false, &saved.linear2_pass);

  // Attention, from the first W columns: dq, dk and dv [B, H, L, K].
  const AttentionGradients grads =
      attention_backward(djoined_RJ.narrow(1, 0, attention_size_)
                             .view({batch, tokens, context.num_heads, context.head_dim})
                             .transpose(1, 2),
                         saved.q_BHLK, saved.k_BHLK, saved.v_BHLK, saved.attention, context.padding);
  if (context.dangle_BLP.defined()) {
    add_angle_gradient(context.dangle_BLP, saved.q_BHLK, grads.dq_BHLD);
    add_angle_gradient(context.dangle_BLP, saved.k_BHLK, grads.dk_BHLD);
  }

  // Into dfused_RG: rope and QK norm write the first E columns, GELU the other F. The bias's gradient has the same two
  // parts. Every rank has different heads but both scales, so the scales' gradients are summed over the
  // ranks.
  torch::Tensor dfused_RG = torch::empty_like(saved.fused_RG);
  const torch::Tensor dbias_G = linear1_->bias_gradient();
  const auto dbias_part = [&](int64_t begin, int64_t size) {
    return dbias_G.defined() ? dbias_G.narrow(0, begin, size) : torch::Tensor();
  };
  SharedGradients scales(context.tp, {norm_->query_norm->scale.grad(), norm_->key_norm->scale.grad()});
  qk_norm_rope_backward({grads.dq_BHLD, grads.dk_BHLD, grads.dv_BHLD,
                         saved.fused_RG.narrow(1, 0, qkv_size).unflatten(0, {batch, tokens}),
                         linear1_->bias().narrow(0, 0, qkv_size), norm_->query_norm->scale, norm_->key_norm->scale,
                         context.rope.cos_LP, context.rope.sin_LP, context.qk_norm_eps, /*offset=*/0,
                         dfused_RG.narrow(1, 0, qkv_size).unflatten(0, {batch, tokens}), scales.target(0),
                         scales.target(1), dbias_part(0, qkv_size), /*accumulate=*/true});
  gelu_backward(djoined_RJ.narrow(1, attention_size_, mlp_hidden_size_).unsqueeze(0),
                saved.fused_RG.narrow(1, qkv_size, mlp_hidden_size_).unsqueeze(0),
                linear1_->bias().narrow(0, qkv_size, mlp_hidden_size_),
                dfused_RG.narrow(1, qkv_size, mlp_hidden_size_).unsqueeze(0), dbias_part(qkv_size, mlp_hidden_size_),
                /*accumulate_dbias=*/true);
  scales.finish();

  // linear1 and the norm: branch_BLD becomes the gradient of normed_RD, and the norm adds its part of x's to dout_BLD.
  linear1_->backward_input(branch_RD, dfused_RG, /*accumulate=*/false, &saved.linear1_pass);
  Work sum = sum_over_tp(context.tp, branch_RD);
  linear1_->backward_weight(dfused_RG, saved.normed_RD, &saved.linear1_pass);
  sum.wait();
  norm_modulate_backward(branch_BLD, saved.x_BLD, mod.scale_BD, saved.mean_BL, saved.rstd_BL, dout_BLD,
                         /*accumulate_dx=*/true, dmod.shift_BD, dmod.scale_BD);
  return dout_BLD;
}

}  // namespace millrace::flux
