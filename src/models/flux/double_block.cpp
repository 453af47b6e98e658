// The double block, phase by phase. Both streams go through the same steps with separate weights; they are joined in
// one attention over the T + I tokens.
//
// Forward, per stream:
//   1. norm_and_qkv       normed1_RD = norm(x) modulated;  qkv_RE = normed1 Wqkv
//   2. compute_attention  q, k, v [B, H, T + I, K] from both streams' qkv (bias, QK norm, rope);  attention
//   3. compute_mlp        projected_RD = merged Wproj;  middle = x + gate1 * (projected + bias);
//                         normed2_RD = norm(middle) modulated;  hidden_RF = normed2 Win;
//                         activated_RF = gelu(hidden + bias);  out_RD = activated Wout
//   4. finish             block output = middle + gate2 * (out + bias)
//
// Backward first reruns 1 to 3 for the tensors that `Keep` dropped, with the same code and the same kernels, so that
// all modes give the same bits; then it processes 4 to 1. The gradient of a stream's residual accumulates in place in
// one buffer, d_BLD; a branch's gradient is in another, branch_BLD, whose memory the next step reuses.
//
// A product does not add its bias: the kernel that reads its output adds it in the same pass, and computes the bias's
// gradient in the backward pass. Before a sum over tp ranks, the input's gradient is computed first and the weight's
// afterwards, so that the weight's gradient overlaps the sum.
#include "models/flux/double_block.h"

#include "kernels/gate_residual/gate_residual.h"
#include "kernels/gelu/gelu.h"
#include "kernels/norm_modulate/norm_modulate.h"
#include "kernels/qk_norm_rope/qk_norm_rope.h"
#include "parallel/tensor_parallel.h"

namespace millrace::flux {
namespace {

torch::Tensor rows(const torch::Tensor& x_BLD) {
  return x_BLD.flatten(0, 1);
}
torch::Tensor one_batch(const torch::Tensor& x_RD) {
  return x_RD.unsqueeze(0);
}

}  // namespace

DoubleBlock::DoubleBlock(const FluxConfig& config, int64_t modulation_begin, int tp_size)
    : img_mod(register_module("img_mod", std::make_shared<Modulation>(config.hidden_size, 6 * config.hidden_size))),
      txt_mod(register_module("txt_mod", std::make_shared<Modulation>(config.hidden_size, 6 * config.hidden_size))),
      img_(make_stream("img", config, modulation_begin, tp_size)),
      txt_(make_stream("txt", config, modulation_begin + 6 * config.hidden_size, tp_size)) {}

DoubleBlock::Stream DoubleBlock::make_stream(const std::string& name, const FluxConfig& config,
                                             int64_t modulation_begin, int tp_size) {
  return {
      register_module(name + "_attn", std::make_shared<SelfAttention>(config.hidden_size, config.hidden_size / tp_size,
                                                                      config.head_dim())),
      register_module(name + "_mlp", std::make_shared<Mlp>(config.hidden_size, config.mlp_hidden_size() / tp_size)),
      modulation_begin,
  };
}

std::vector<std::pair<std::string, torch::Tensor>> DoubleBlock::unit_parameters() const {
  std::vector<std::pair<std::string, torch::Tensor>> parameters;
  for (const auto& item : named_parameters()) {
    if (item.key().find("_mod.") == std::string::npos) parameters.emplace_back(item.key(), item.value());
  }
  return parameters;
}

DoubleBlock::Streams DoubleBlock::forward(const BlockContext& context, const Streams& x, Saved* saved, Keep keep) {
  Saved local;
  Saved& work = saved ? *saved : local;
  work.img.x_BLD = x.img_BID;
  work.txt.x_BLD = x.txt_BTD;
  compute_attention(context, work);
  compute_mlp(context, txt_, work.txt, work.attention, 0);
  compute_mlp(context, img_, work.img, work.attention, context.num_text_tokens);
  Streams out = {finish(context, img_, work.img), finish(context, txt_, work.txt)};
  if (saved && keep != Keep::kAll) {
    drop(work.img, keep);
    drop(work.txt, keep);
    work.q_BHLK = work.k_BHLK = work.v_BHLK = torch::Tensor();
    if (keep == Keep::kInputs) work.attention = {};
  }
  return out;
}

// The norms' statistics are kept with the outputs: they are small, and the norms' backward passes read them.
void DoubleBlock::drop(StreamSaved& saved, Keep keep) {
  const StreamSaved all = saved;
  saved = {};
  saved.x_BLD = all.x_BLD;
  if (keep == Keep::kInputs) return;
  saved.mean1_BL = all.mean1_BL, saved.rstd1_BL = all.rstd1_BL;
  saved.qkv_RE = all.qkv_RE, saved.qkv_pass = all.qkv_pass;
  saved.projected_RD = all.projected_RD, saved.proj_pass = all.proj_pass;
  saved.middle_BLD = all.middle_BLD, saved.mean2_BL = all.mean2_BL, saved.rstd2_BL = all.rstd2_BL;
  saved.hidden_RF = all.hidden_RF, saved.in_pass = all.in_pass;
  saved.out_RD = all.out_RD, saved.out_pass = all.out_pass;
}

// From both streams' x_BLD to attention.out [B, H, T + I, K].
void DoubleBlock::compute_attention(const BlockContext& context, Saved& saved) {
  norm_and_qkv(context, txt_, saved.txt);
  norm_and_qkv(context, img_, saved.img);
  if (!saved.q_BHLK.defined()) {
    const int64_t batch = saved.img.x_BLD.size(0), tokens = saved.img.x_BLD.size(1) + saved.txt.x_BLD.size(1);
    for (torch::Tensor* part : {&saved.q_BHLK, &saved.k_BHLK, &saved.v_BHLK}) {
      *part = torch::empty({batch, context.num_heads, tokens, context.head_dim}, saved.img.x_BLD.options());
    }
    // Each stream writes its own rows of q, k and v: text tokens first, image tokens from T on.
    const auto place = [&](const Stream& stream, const StreamSaved& part, int64_t token_begin) {
      const SelfAttention& attn = *stream.attn;
      const int64_t own_tokens = part.x_BLD.size(1);
      const RopeTable rope = context.rope.rows(token_begin, own_tokens);
      qk_norm_rope_forward({part.qkv_RE.view({batch, own_tokens, -1}), attn.qkv->bias(), attn.norm->query_norm->scale,
                            attn.norm->key_norm->scale, rope.cos_LP, rope.sin_LP, context.qk_norm_eps, token_begin,
                            saved.q_BHLK, saved.k_BHLK, saved.v_BHLK});
    };
    place(txt_, saved.txt, 0);
    place(img_, saved.img, context.num_text_tokens);
  }
  if (!saved.attention.out_BHLD.defined()) {
    saved.attention = attention_forward(saved.q_BHLK, saved.k_BHLK, saved.v_BHLK, context.padding);
  }
}

// From x_BLD to qkv_RE, without its bias.
void DoubleBlock::norm_and_qkv(const BlockContext& context, const Stream& stream, StreamSaved& saved) {
  const torch::Tensor& x = saved.x_BLD;
  if (!saved.normed1_RD.defined()) {
    const ModulationViews mod = modulation_views(context.modulation_BM, stream.modulation_begin, x.size(2));
    torch::Tensor normed_BLD = torch::empty_like(x, torch::MemoryFormat::Contiguous);
    saved.mean1_BL = torch::empty({x.size(0), x.size(1)}, x.options().dtype(torch::kFloat32));
    saved.rstd1_BL = torch::empty_like(saved.mean1_BL);
    norm_modulate_forward(x, mod.shift_BD, mod.scale_BD, kLayerNormEps, normed_BLD, saved.mean1_BL, saved.rstd1_BL);
    saved.normed1_RD = rows(normed_BLD);
  }
  if (!saved.qkv_RE.defined()) {
    const Linear& qkv = *stream.attn->qkv;
    saved.qkv_RE = torch::empty({saved.normed1_RD.size(0), qkv.out_features()}, x.options());
    qkv.forward(saved.qkv_RE, saved.normed1_RD, &saved.qkv_pass);
  }
}

// From the stream's rows of attention's output, tokens [token_begin, token_begin + L), to the MLP's out_RD, without its
// bias.
void DoubleBlock::compute_mlp(const BlockContext& context, const Stream& stream, StreamSaved& saved,
                              const Attention& attention, int64_t token_begin) {
  const torch::Tensor& x = saved.x_BLD;
  const int64_t batch = x.size(0), tokens = x.size(1), hidden_size = x.size(2);
  // The stream's rows of [B, H, T + I, K], with heads side by side: [R, W].
  if (!saved.merged_RW.defined()) {
    const torch::Tensor own_BLHK = attention.out_BHLD.narrow(2, token_begin, tokens).transpose(1, 2);
    saved.merged_RW = own_BLHK.reshape({batch * tokens, context.num_heads * context.head_dim});
  }
  // The projection of each rank's heads is a partial sum; likewise for the MLP's channels below.
  if (!saved.projected_RD.defined()) {
    saved.projected_RD = torch::empty({batch * tokens, hidden_size}, x.options());
    stream.attn->proj->forward(saved.projected_RD, saved.merged_RW, &saved.proj_pass);
    sum_over_tp(context.tp, saved.projected_RD).wait();
  }
  // The attention's residual and the MLP's norm in one pass over each row.
  if (!saved.normed2_RD.defined()) {
    const ModulationViews first = modulation_views(context.modulation_BM, stream.modulation_begin, hidden_size);
    const ModulationViews second =
        modulation_views(context.modulation_BM, stream.modulation_begin + 3 * hidden_size, hidden_size);
    torch::Tensor middle_BLD = torch::empty_like(x, torch::MemoryFormat::Contiguous);
    torch::Tensor normed_BLD = torch::empty_like(middle_BLD);
    saved.mean2_BL = torch::empty({batch, tokens}, x.options().dtype(torch::kFloat32));
    saved.rstd2_BL = torch::empty_like(saved.mean2_BL);
    gate_residual_norm_forward({x, saved.projected_RD.view(x.sizes()), first.gate_BD, stream.attn->proj->bias(),
                                second.shift_BD, second.scale_BD, kLayerNormEps, middle_BLD, normed_BLD, saved.mean2_BL,
                                saved.rstd2_BL});
    saved.middle_BLD = middle_BLD;
    saved.normed2_RD = rows(normed_BLD);
  }
  if (!saved.hidden_RF.defined()) {
    saved.hidden_RF = torch::empty({batch * tokens, stream.mlp->in->out_features()}, x.options());
    stream.mlp->in->forward(saved.hidden_RF, saved.normed2_RD, &saved.in_pass);
  }
  if (!saved.activated_RF.defined()) {
    saved.activated_RF = torch::empty_like(saved.hidden_RF);
    gelu_forward(one_batch(saved.hidden_RF), stream.mlp->in->bias(), one_batch(saved.activated_RF));
  }
  if (!saved.out_RD.defined()) {
    saved.out_RD = torch::empty_like(saved.projected_RD);
    stream.mlp->out->forward(saved.out_RD, saved.activated_RF, &saved.out_pass);
    sum_over_tp(context.tp, saved.out_RD).wait();
  }
}

// The MLP's residual gives the stream's output: a new tensor, since the input may be kept.
torch::Tensor DoubleBlock::finish(const BlockContext& context, const Stream& stream, const StreamSaved& saved) {
  const int64_t hidden_size = saved.x_BLD.size(2);
  const ModulationViews mod =
      modulation_views(context.modulation_BM, stream.modulation_begin + 3 * hidden_size, hidden_size);
  torch::Tensor out_BLD = torch::empty_like(saved.middle_BLD);
  gate_residual_forward(saved.middle_BLD, saved.out_RD.view(out_BLD.sizes()), mod.gate_BD, stream.mlp->out->bias(),
                        out_BLD);
  return out_BLD;
}

DoubleBlock::Streams DoubleBlock::backward(const BlockContext& context, Saved& saved, Streams dout) {
  // Recompute the dropped tensors.
  compute_attention(context, saved);
  compute_mlp(context, txt_, saved.txt, saved.attention, 0);
  compute_mlp(context, img_, saved.img, saved.attention, context.num_text_tokens);

  // Residuals, MLPs and projections: each stream writes its rows of the gradient of attention's output.
  torch::Tensor dattention_BLHK =
      torch::empty_like(saved.attention.out_BHLD.transpose(1, 2), torch::MemoryFormat::Contiguous);
  backward_mlp(context, txt_, saved.txt, dout.txt_BTD, dattention_BLHK, 0);
  backward_mlp(context, img_, saved.img, dout.img_BID, dattention_BLHK, context.num_text_tokens);

  // Attention, for both streams at once: dq, dk and dv [B, H, T + I, K].
  const AttentionGradients grads = attention_backward(dattention_BLHK.transpose(1, 2), saved.q_BHLK, saved.k_BHLK,
                                                      saved.v_BHLK, saved.attention, context.padding);
  if (context.dangle_BLP.defined()) {
    add_angle_gradient(context.dangle_BLP, saved.q_BHLK, grads.dq_BHLD);
    add_angle_gradient(context.dangle_BLP, saved.k_BHLK, grads.dk_BHLD);
  }

  // QK norm, qkv and the first norm, stream by stream.
  backward_qkv(context, txt_, saved.txt, grads, dout.txt_BTD, 0);
  backward_qkv(context, img_, saved.img, grads, dout.img_BID, context.num_text_tokens);
  return dout;
}

// From the gradient of the stream's output to that of the attention's output. d_BLD changes in place to the gradient of
// middle, which is also the part of x's gradient that bypasses the attention through the residual.
void DoubleBlock::backward_mlp(const BlockContext& context, Stream& stream, StreamSaved& saved, torch::Tensor& d_BLD,
                               torch::Tensor& dattention_BLHK, int64_t token_begin) {
  const int64_t hidden_size = d_BLD.size(2), batch = d_BLD.size(0), tokens = d_BLD.size(1);
  const ModulationViews first = modulation_views(context.modulation_BM, stream.modulation_begin, hidden_size);
  const ModulationViews second =
      modulation_views(context.modulation_BM, stream.modulation_begin + 3 * hidden_size, hidden_size);
  const ModulationViews dfirst = modulation_views(context.dmodulation_BM, stream.modulation_begin, hidden_size);
  const ModulationViews dsecond =
      modulation_views(context.dmodulation_BM, stream.modulation_begin + 3 * hidden_size, hidden_size);
  Linear& in = *stream.mlp->in;
  Linear& out = *stream.mlp->out;
  Linear& proj = *stream.attn->proj;

  // The MLP's residual: branch_BLD becomes the gradient of out_RD; d_BLD is the residual's part of middle's.
  torch::Tensor branch_BLD = torch::empty_like(d_BLD);
  gate_residual_backward(d_BLD, saved.out_RD.view(d_BLD.sizes()), second.gate_BD, out.bias(), branch_BLD,
                         dsecond.gate_BD, out.bias_gradient(), /*accumulate_dbias=*/true);

  // The MLP: dhidden_RF is first the gradient of activated_RF, then of hidden_RF.
  out.backward_weight(rows(branch_BLD), saved.activated_RF, &saved.out_pass);
  torch::Tensor dhidden_RF = torch::empty_like(saved.hidden_RF);
  out.backward_input(dhidden_RF, rows(branch_BLD), /*accumulate=*/false, &saved.out_pass);
  gelu_backward(one_batch(dhidden_RF), one_batch(saved.hidden_RF), in.bias(), one_batch(dhidden_RF), in.bias_gradient(),
                /*accumulate_dbias=*/true);
  torch::Tensor dnormed_RD = rows(branch_BLD);  // out_RD's gradient is no longer needed: reuse its memory
  in.backward_input(dnormed_RD, dhidden_RF, /*accumulate=*/false, &saved.in_pass);
  Work sum = sum_over_tp(context.tp, dnormed_RD);
  in.backward_weight(dhidden_RF, saved.normed2_RD, &saved.in_pass);
  sum.wait();

  // The second norm and the attention's residual: d_BLD becomes the complete gradient of middle, branch_BLD that of
  // projected_RD.
  gate_residual_norm_backward({branch_BLD, saved.middle_BLD, second.scale_BD, saved.mean2_BL, saved.rstd2_BL,
                               saved.projected_RD.view(d_BLD.sizes()), first.gate_BD, proj.bias(), d_BLD,
                               dsecond.shift_BD, dsecond.scale_BD, /*dy_BLD=*/branch_BLD, dfirst.gate_BD,
                               proj.bias_gradient(), /*accumulate_dbias=*/true});

  // The projection. dmerged_RW is this stream's rows of the gradient of attention's output.
  proj.backward_weight(rows(branch_BLD), saved.merged_RW, &saved.proj_pass);
  torch::Tensor dmerged_RW = torch::empty(saved.merged_RW.sizes(), saved.merged_RW.options());
  proj.backward_input(dmerged_RW, rows(branch_BLD), /*accumulate=*/false, &saved.proj_pass);
  dattention_BLHK.narrow(1, token_begin, tokens).copy_(dmerged_RW.view({batch, tokens, context.num_heads, -1}));
}

// From the gradients of queries, keys and values to that of the stream's input, added to d_BLD.
void DoubleBlock::backward_qkv(const BlockContext& context, Stream& stream, StreamSaved& saved,
                               const AttentionGradients& grads, torch::Tensor& d_BLD, int64_t token_begin) {
  const int64_t hidden_size = d_BLD.size(2), batch = d_BLD.size(0), tokens = d_BLD.size(1);
  const ModulationViews mod = modulation_views(context.modulation_BM, stream.modulation_begin, hidden_size);
  const ModulationViews dmod = modulation_views(context.dmodulation_BM, stream.modulation_begin, hidden_size);
  Linear& qkv = *stream.attn->qkv;
  QkNorm& norm = *stream.attn->norm;

  // Rope and QK norm: dqkv_RE from the stream's rows of dq, dk and dv. Every rank has different heads but both scales,
  // so the scales' gradients are sums over the ranks.
  torch::Tensor dqkv_RE = torch::empty_like(saved.qkv_RE);
  const RopeTable rope = context.rope.rows(token_begin, tokens);
  SharedGradients scales(context.tp, {norm.query_norm->scale.grad(), norm.key_norm->scale.grad()});
  qk_norm_rope_backward({grads.dq_BHLD, grads.dk_BHLD, grads.dv_BHLD, saved.qkv_RE.view({batch, tokens, -1}),
                         qkv.bias(), norm.query_norm->scale, norm.key_norm->scale, rope.cos_LP, rope.sin_LP,
                         context.qk_norm_eps, token_begin, dqkv_RE.view({batch, tokens, -1}), scales.target(0),
                         scales.target(1), qkv.bias_gradient(), /*accumulate=*/true});
  scales.finish();

  // qkv and the first norm, whose gradient is added to the residual's.
  torch::Tensor dnormed_BLD = torch::empty_like(d_BLD);
  torch::Tensor dnormed_RD = rows(dnormed_BLD);
  qkv.backward_input(dnormed_RD, dqkv_RE, /*accumulate=*/false, &saved.qkv_pass);
  Work sum = sum_over_tp(context.tp, dnormed_RD);
  qkv.backward_weight(dqkv_RE, saved.normed1_RD, &saved.qkv_pass);
  sum.wait();
  norm_modulate_backward(dnormed_BLD, saved.x_BLD, mod.scale_BD, saved.mean1_BL, saved.rstd1_BL, d_BLD,
                         /*accumulate_dx=*/true, dmod.shift_BD, dmod.scale_BD);
}

}  // namespace millrace::flux
