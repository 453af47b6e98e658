// The decoder layer, phase by phase.
//
// Forward:
//   1. compute_attention  normed1 = norm(x), gathered;  qkv = normed1 [Wq; Wk; Wv] + biases;  q and k perhaps
//                         normed, then rotated;  attention within documents
//   2. compute_mlp        middle = x + attention Wo;  normed2 = norm(middle), gathered;  gate and up = normed2 Wgate,
//                         normed2 Wup;  activated = silu(gate) * up
//   3. forward            block output = middle + activated Wdown
//
// Backward first runs 1 and 2 again for whatever `Keep` dropped, which is the same code with the same kernels, so that
// all modes give the same bits; then it walks 3 to 1. The gradient of the residual lives in one buffer d_UD that grows
// in place.
//
// q, k and v are columns of one buffer, so that attention reads them where the products left them.
//
// With tensor parallelism a rank has some heads and channels, and between the products, where norms and residuals are,
// some tokens (TokenShare). The products with Wo and Wdown are sums over the ranks, each of which gets its tokens'
// rows; the norms' results are gathered. The backward pass mirrors this: the gradients of normed1 and normed2 are sums,
// which run beside the products for the weights' gradients, and the gradient of the residual is gathered for the
// products.
#include "models/llama/block.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rotary/rotary.h"
#include "kernels/swiglu/swiglu.h"

namespace millrace::llama {
namespace {

torch::Tensor product(const Linear& layer, const torch::Tensor& x_MK, LinearPass& pass) {
  torch::Tensor out_MN = torch::empty({x_MK.size(0), layer.out_features()}, x_MK.options());
  layer.forward(out_MN, x_MK, &pass);
  if (layer.bias().defined()) out_MN.add_(layer.bias());
  return out_MN;
}

// The product of a layer whose inputs are spread over the ranks, which add up its outputs: the rows of this rank's
// tokens.
torch::Tensor joining_product(const Linear& layer, const torch::Tensor& x_TK, LinearPass& pass,
                              const TokenShare& share) {
  torch::Tensor out_TN = torch::empty({x_TK.size(0), layer.out_features()}, x_TK.options());
  layer.forward(out_TN, x_TK, &pass);
  torch::Tensor out_UN = share.sum(out_TN);
  if (layer.bias().defined()) out_UN.add_(layer.bias());
  return out_UN;
}

void product_into(torch::Tensor out_MN, const Linear& layer, const torch::Tensor& x_MK, LinearPass& pass) {
  layer.forward(out_MN, x_MK, &pass);
  if (layer.bias().defined()) out_MN.add_(layer.bias());
}

// The gradients of a layer's own parameters.
void add_gradients(Linear& layer, const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass& pass) {
  layer.backward_weight(dy_MN, x_MK, &pass);
  if (const torch::Tensor dbias_N = layer.bias_gradient(); dbias_N.defined()) add_bias_gradient(dbias_N, dy_MN);
}

torch::Tensor statistics(const torch::Tensor& x, int64_t count) {
  return torch::empty({count}, x.options().dtype(torch::kFloat32));
}

}  // namespace

Block::Block(const LlamaConfig& config, int64_t layer, int tp_size)
    : num_heads_(config.num_attention_heads / tp_size),
      num_key_value_heads_(config.num_key_value_heads / tp_size),
      head_dim_(config.head_dim),
      eps_(config.rms_norm_eps),
      attention_options_{.causal = true, .window = config.windows.at(static_cast<size_t>(layer))},
      self_attn_(register_module("self_attn", std::make_shared<SelfAttention>(config, tp_size))),
      mlp_(register_module("mlp", std::make_shared<Mlp>(config, tp_size))) {
  const auto norm = [&] { return std::make_shared<PlainRmsNorm>(config.hidden_size, eps_, kUnplaced); };
  input_layernorm_ = register_module("input_layernorm", norm());
  post_attention_layernorm_ = register_module("post_attention_layernorm", norm());
}

torch::Tensor Block::heads(const torch::Tensor& x_TE, int64_t first, int64_t count) const {
  return x_TE.narrow(1, first * head_dim_, count * head_dim_).unflatten(1, {count, head_dim_});
}
torch::Tensor Block::queries(const Saved& saved) const {
  return heads(self_attn_->q_norm ? saved.rotated_TE : saved.qkv_TE, 0, num_heads_);
}
torch::Tensor Block::keys(const Saved& saved) const {
  return heads(self_attn_->k_norm ? saved.rotated_TE : saved.qkv_TE, num_heads_, num_key_value_heads_);
}
torch::Tensor Block::values(const Saved& saved) const {
  return heads(saved.qkv_TE, num_heads_ + num_key_value_heads_, num_key_value_heads_);
}

torch::Tensor Block::forward(const BlockContext& context, const torch::Tensor& x_UD, Saved* saved, Keep keep) {
  Saved local;
  Saved& work = saved ? *saved : local;
  work.x_UD = x_UD;
  compute_attention(context, work);
  if (!saved) work.qkv_TE = work.rotated_TE = work.normed1_TD = torch::Tensor();
  compute_mlp(context, work);
  if (!saved) work.attention = {}, work.gate_TF = work.up_TF = work.normed2_TD = torch::Tensor();
  torch::Tensor out_UD = finish(context, work);
  if (saved) drop(work, keep);
  return out_UD;
}

torch::Tensor Block::extend(const BlockContext& context, const torch::Tensor& x_TD, KeyValueCache& cache) const {
  Saved work;
  work.x_UD = x_TD;
  compute_qkv(context, work);
  const int64_t tokens = x_TD.size(0), before = cache.length;
  MILLRACE_CHECK((before == 0 || tokens == 1) && before + tokens <= cache.keys_SGK.size(0));
  cache.keys_SGK.narrow(0, before, tokens).copy_(keys(work));
  cache.values_SGK.narrow(0, before, tokens).copy_(values(work));
  cache.length += tokens;
  if (before == 0) {
    compute_attention(context, work);
  } else {
    work.attention.out_THD = attend_to_cache(queries(work), cache);
  }
  compute_mlp(context, work);
  return finish(context, work);
}

// One token sees all before it, so that no mask is needed: the query heads of a group are as many queries of their key
// head.
torch::Tensor Block::attend_to_cache(const torch::Tensor& query_1HK, const KeyValueCache& cache) const {
  const int64_t window = attention_options_.window;
  const int64_t seen = window > 0 ? std::min(window, cache.length) : cache.length;
  const auto rows = [&](const torch::Tensor& x_SGK) {
    return x_SGK.narrow(0, cache.length - seen, seen).transpose(0, 1).unsqueeze(0);
  };
  const torch::Tensor groups =
      query_1HK.reshape({1, num_key_value_heads_, num_heads_ / num_key_value_heads_, head_dim_});
  return at::scaled_dot_product_attention(groups, rows(cache.keys_SGK), rows(cache.values_SGK))
      .reshape({1, num_heads_, head_dim_});
}

// The layer's output from activated_TF and middle_UD.
torch::Tensor Block::finish(const BlockContext& context, Saved& saved) const {
  torch::Tensor out_UD = joining_product(*mlp_->down_proj, saved.activated_TF, saved.down_pass, context.share);
  return out_UD.add_(saved.middle_UD);
}

// Norms' statistics stay with the outputs: they are small, and the norms' backward passes read them.
void Block::drop(Saved& saved, Keep keep) {
  if (keep == Keep::kAll) return;
  saved.normed1_TD = saved.normed2_TD = saved.activated_TF = saved.rotated_TE = torch::Tensor();
  if (keep == Keep::kOutputs) return;
  Saved input;
  input.x_UD = saved.x_UD;
  saved = input;
}

// From x_UD to the q, k and v that attention takes.
void Block::compute_qkv(const BlockContext& context, Saved& saved) const {
  const torch::Tensor& x = saved.x_UD;
  const int64_t heads_in_all = num_heads_ + num_key_value_heads_;
  if (!saved.normed1_TD.defined()) {
    const torch::Tensor normed_UD = torch::empty_like(x);
    saved.rstd1_U = statistics(x, x.size(0));
    rms_norm_forward(x, input_layernorm_->weight, eps_, normed_UD, saved.rstd1_U);
    saved.normed1_TD = context.share.gather(normed_UD);
  }
  const int64_t tokens = saved.normed1_TD.size(0);
  if (!saved.qkv_TE.defined()) {
    const int64_t query_width = num_heads_ * head_dim_, key_width = num_key_value_heads_ * head_dim_;
    saved.qkv_TE = torch::empty({tokens, query_width + 2 * key_width}, x.options());
    const auto columns = [&](int64_t begin, int64_t size) { return saved.qkv_TE.narrow(1, begin, size); };
    product_into(columns(0, query_width), *self_attn_->q_proj, saved.normed1_TD, saved.q_pass);
    product_into(columns(query_width, key_width), *self_attn_->k_proj, saved.normed1_TD, saved.k_pass);
    product_into(columns(query_width + key_width, key_width), *self_attn_->v_proj, saved.normed1_TD, saved.v_pass);
    if (!self_attn_->q_norm) rotate_in_place(heads(saved.qkv_TE, 0, heads_in_all), context.cos_TP, context.sin_TP);
  }
  if (self_attn_->q_norm && !saved.rotated_TE.defined()) {
    saved.rotated_TE = torch::empty({tokens, heads_in_all * head_dim_}, x.options());
    saved.rstd_q = statistics(x, tokens * num_heads_);
    saved.rstd_k = statistics(x, tokens * num_key_value_heads_);
    rms_norm_forward(heads(saved.qkv_TE, 0, num_heads_), self_attn_->q_norm->weight, eps_, queries(saved),
                     saved.rstd_q);
    rms_norm_forward(heads(saved.qkv_TE, num_heads_, num_key_value_heads_), self_attn_->k_norm->weight, eps_,
                     keys(saved), saved.rstd_k);
    rotate_in_place(heads(saved.rotated_TE, 0, heads_in_all), context.cos_TP, context.sin_TP);
  }
}

// From x_UD to attention.out_THD.
void Block::compute_attention(const BlockContext& context, Saved& saved) const {
  compute_qkv(context, saved);
  if (!saved.attention.out_THD.defined()) {
    saved.attention =
        packed_attention_forward(queries(saved), keys(saved), values(saved), *context.documents, attention_options_);
  }
}

// From attention.out_THD to activated_TF.
void Block::compute_mlp(const BlockContext& context, Saved& saved) const {
  if (!saved.middle_UD.defined() || !saved.normed2_TD.defined()) {
    const torch::Tensor normed_UD = torch::empty_like(saved.x_UD);
    saved.rstd2_U = statistics(saved.x_UD, saved.x_UD.size(0));
    const torch::Tensor& weight = post_attention_layernorm_->weight;
    if (saved.middle_UD.defined()) {
      rms_norm_forward(saved.middle_UD, weight, eps_, normed_UD, saved.rstd2_U);
    } else {
      saved.middle_UD =
          joining_product(*self_attn_->o_proj, saved.attention.out_THD.flatten(1, 2), saved.o_pass, context.share);
      add_rms_norm_forward(saved.x_UD, saved.middle_UD, weight, eps_, saved.middle_UD, normed_UD, saved.rstd2_U);
    }
    saved.normed2_TD = context.share.gather(normed_UD);
  }
  if (!saved.gate_TF.defined()) {
    saved.gate_TF = product(*mlp_->gate_proj, saved.normed2_TD, saved.gate_pass);
    saved.up_TF = product(*mlp_->up_proj, saved.normed2_TD, saved.up_pass);
  }
  if (!saved.activated_TF.defined()) {
    saved.activated_TF = torch::empty_like(saved.gate_TF);
    swiglu_forward(saved.gate_TF, saved.up_TF, saved.activated_TF);
  }
}

torch::Tensor Block::backward(const BlockContext& context, Saved& saved, torch::Tensor dout_UD, bool wants_dx) {
  // Whatever was dropped, again.
  compute_attention(context, saved);
  compute_mlp(context, saved);
  // Every rank has the same norms, and perhaps other tokens.
  SharedGradients norms(context.share.divided(),
                        {input_layernorm_->weight.grad(), post_attention_layernorm_->weight.grad()});
  backward_mlp(context, saved, norms, dout_UD);
  torch::Tensor dx_UD = backward_attention(context, saved, norms, dout_UD, wants_dx);
  norms.finish();
  return dx_UD;
}

// d_UD: the gradient of the block's output, then that of middle_UD.
void Block::backward_mlp(const BlockContext& context, Saved& saved, SharedGradients& norms, torch::Tensor& d_UD) {
  const torch::Tensor d_TD = context.share.gather(d_UD);
  // Down projection and activation, whose gradient takes the memory of activated_TF; gate_TF and up_TF become their own
  // gradients.
  add_gradients(*mlp_->down_proj, d_TD, saved.activated_TF, saved.down_pass);
  torch::Tensor dactivated_TF = std::exchange(saved.activated_TF, torch::Tensor());
  mlp_->down_proj->backward_input(dactivated_TF, d_TD, /*accumulate=*/false, &saved.down_pass);
  swiglu_backward(dactivated_TF, saved.gate_TF, saved.up_TF, saved.gate_TF, saved.up_TF);
  dactivated_TF = torch::Tensor();

  // Both projections read normed2_TD.
  torch::Tensor dnormed_TD = torch::empty_like(d_TD);
  mlp_->gate_proj->backward_input(dnormed_TD, saved.gate_TF, /*accumulate=*/false, &saved.gate_pass);
  mlp_->up_proj->backward_input(dnormed_TD, saved.up_TF, /*accumulate=*/true, &saved.up_pass);
  TokenShare::PendingRows dnormed = context.share.start_sum(dnormed_TD);
  add_gradients(*mlp_->gate_proj, saved.gate_TF, saved.normed2_TD, saved.gate_pass);
  add_gradients(*mlp_->up_proj, saved.up_TF, saved.normed2_TD, saved.up_pass);
  saved.gate_TF = saved.up_TF = saved.normed2_TD = torch::Tensor();
  rms_norm_backward(dnormed.wait(), saved.middle_UD, post_attention_layernorm_->weight, saved.rstd2_U, d_UD,
                    /*accumulate_dx=*/true, norms.target(1), /*accumulate_dweight=*/true);
}

// d_UD: the gradient of middle_UD, then that of x_UD.
torch::Tensor Block::backward_attention(const BlockContext& context, Saved& saved, SharedGradients& norms,
                                        torch::Tensor& d_UD, bool wants_dx) {
  const torch::Tensor d_TD = context.share.gather(d_UD);
  // Output projection and attention.
  const torch::Tensor merged_TW = saved.attention.out_THD.flatten(1, 2);
  torch::Tensor dmerged_TW = torch::empty_like(merged_TW);
  self_attn_->o_proj->backward_input(dmerged_TW, d_TD, /*accumulate=*/false, &saved.o_pass);
  add_gradients(*self_attn_->o_proj, d_TD, merged_TW, saved.o_pass);
  const PackedAttentionGradients grads =
      packed_attention_backward(dmerged_TW.unflatten(1, {num_heads_, head_dim_}), queries(saved), keys(saved),
                                values(saved), saved.attention, *context.documents, attention_options_);
  saved.attention = {};

  // Back through the rotation and, where there are any, the norms of q and k.
  rotate_in_place(grads.dq_THD, context.cos_TP, context.sin_TP, /*inverse=*/true);
  rotate_in_place(grads.dk_TKD, context.cos_TP, context.sin_TP, /*inverse=*/true);
  if (self_attn_->q_norm) {
    // Every rank has other heads but the same norms.
    SharedGradients of_heads(context.share.ranks(),
                             {self_attn_->q_norm->weight.grad(), self_attn_->k_norm->weight.grad()});
    const auto norm_backward = [&](const torch::Tensor& d, int64_t first, const torch::Tensor& weight,
                                   const torch::Tensor& rstd, const torch::Tensor& dweight) {
      rms_norm_backward(d, heads(saved.qkv_TE, first, d.size(1)), weight, rstd, d, /*accumulate_dx=*/false, dweight,
                        /*accumulate_dweight=*/true);
    };
    norm_backward(grads.dq_THD, 0, self_attn_->q_norm->weight, saved.rstd_q, of_heads.target(0));
    norm_backward(grads.dk_TKD, num_heads_, self_attn_->k_norm->weight, saved.rstd_k, of_heads.target(1));
    of_heads.finish();
  }

  // The three projections read normed1_TD.
  const torch::Tensor dq_TN = grads.dq_THD.flatten(1, 2), dk_TN = grads.dk_TKD.flatten(1, 2),
                      dv_TN = grads.dv_TKD.flatten(1, 2);
  std::optional<TokenShare::PendingRows> dnormed;
  if (wants_dx || input_layernorm_->weight.grad().defined()) {
    torch::Tensor dnormed_TD = torch::empty_like(d_TD);
    self_attn_->q_proj->backward_input(dnormed_TD, dq_TN, /*accumulate=*/false, &saved.q_pass);
    self_attn_->k_proj->backward_input(dnormed_TD, dk_TN, /*accumulate=*/true, &saved.k_pass);
    self_attn_->v_proj->backward_input(dnormed_TD, dv_TN, /*accumulate=*/true, &saved.v_pass);
    dnormed = context.share.start_sum(dnormed_TD);
  }
  add_gradients(*self_attn_->q_proj, dq_TN, saved.normed1_TD, saved.q_pass);
  add_gradients(*self_attn_->k_proj, dk_TN, saved.normed1_TD, saved.k_pass);
  add_gradients(*self_attn_->v_proj, dv_TN, saved.normed1_TD, saved.v_pass);
  if (!dnormed) return {};
  rms_norm_backward(dnormed->wait(), saved.x_UD, input_layernorm_->weight, saved.rstd1_U, d_UD, /*accumulate_dx=*/true,
                    norms.target(0), /*accumulate_dweight=*/true);
  return wants_dx ? d_UD : torch::Tensor();
}

}  // namespace millrace::llama
