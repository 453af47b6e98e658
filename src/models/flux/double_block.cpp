#include "models/flux/double_block.h"

#include "kernels/gate_residual/gate_residual.h"
#include "kernels/gelu/gelu.h"
#include "kernels/norm_modulate/norm_modulate.h"
#include "kernels/qk_norm_rope/qk_norm_rope.h"
#include "nn/gemm.h"

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
    work.q_BHLD = work.k_BHLD = work.v_BHLD = torch::Tensor();
    if (keep == Keep::kInputs) work.attention = {};
  }
  return out;
}

void DoubleBlock::drop(StreamSaved& saved, Keep keep) {
  const StreamSaved all = saved;
  saved = {};
  saved.x_BLD = all.x_BLD;
  if (keep == Keep::kInputs) return;
  saved.mean1_BL = all.mean1_BL, saved.rstd1_BL = all.rstd1_BL, saved.qkv_RE = all.qkv_RE;
  saved.projected_RD = all.projected_RD, saved.middle_BLD = all.middle_BLD;
  saved.mean2_BL = all.mean2_BL, saved.rstd2_BL = all.rstd2_BL;
  saved.hidden_RM = all.hidden_RM, saved.out_RD = all.out_RD;
}

void DoubleBlock::compute_attention(const BlockContext& context, Saved& saved) {
  norm_and_qkv(context, txt_, saved.txt);
  norm_and_qkv(context, img_, saved.img);
  if (!saved.q_BHLD.defined()) {
    const int64_t batch = saved.img.x_BLD.size(0), tokens = saved.img.x_BLD.size(1) + saved.txt.x_BLD.size(1);
    for (torch::Tensor* part : {&saved.q_BHLD, &saved.k_BHLD, &saved.v_BHLD}) {
      *part = torch::empty({batch, context.num_heads, tokens, context.head_dim}, saved.img.x_BLD.options());
    }
    const auto place = [&](const Stream& stream, const StreamSaved& part, int64_t token_begin) {
      const SelfAttention& attn = *stream.attn;
      const int64_t own_tokens = part.x_BLD.size(1);
      const RopeTable rope = context.rope.rows(token_begin, own_tokens);
      qk_norm_rope_forward({part.qkv_RE.view({batch, own_tokens, -1}), attn.qkv->bias, attn.norm->query_norm->scale,
                            attn.norm->key_norm->scale, rope.cos_LP, rope.sin_LP, context.qk_norm_eps, token_begin,
                            saved.q_BHLD, saved.k_BHLD, saved.v_BHLD});
    };
    place(txt_, saved.txt, 0);
    place(img_, saved.img, context.num_text_tokens);
  }
  if (!saved.attention.out_BHLD.defined()) {
    saved.attention = attention_forward(saved.q_BHLD, saved.k_BHLD, saved.v_BHLD);
  }
}

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
    saved.qkv_RE = torch::empty({saved.normed1_RD.size(0), stream.attn->qkv->weight.size(0)}, x.options());
    linear_forward(saved.qkv_RE, saved.normed1_RD, stream.attn->qkv->weight);
  }
}

void DoubleBlock::compute_mlp(const BlockContext& context, const Stream& stream, StreamSaved& saved,
                              const Attention& attention, int64_t token_begin) {
  const torch::Tensor& x = saved.x_BLD;
  const int64_t batch = x.size(0), tokens = x.size(1), hidden_size = x.size(2);
  if (!saved.merged_RD.defined()) {
    const torch::Tensor own_BLHD = attention.out_BHLD.narrow(2, token_begin, tokens).transpose(1, 2);
    saved.merged_RD = own_BLHD.reshape({batch * tokens, context.num_heads * context.head_dim});
  }
  if (!saved.projected_RD.defined()) {
    saved.projected_RD = torch::empty({batch * tokens, hidden_size}, x.options());
    linear_forward(saved.projected_RD, saved.merged_RD, stream.attn->proj->weight);
    sum_over_tp(context, saved.projected_RD).wait();
  }
  if (!saved.normed2_RD.defined()) {
    const ModulationViews first = modulation_views(context.modulation_BM, stream.modulation_begin, hidden_size);
    const ModulationViews second =
        modulation_views(context.modulation_BM, stream.modulation_begin + 3 * hidden_size, hidden_size);
    torch::Tensor middle_BLD = torch::empty_like(x, torch::MemoryFormat::Contiguous);
    torch::Tensor normed_BLD = torch::empty_like(middle_BLD);
    saved.mean2_BL = torch::empty({batch, tokens}, x.options().dtype(torch::kFloat32));
    saved.rstd2_BL = torch::empty_like(saved.mean2_BL);
    gate_residual_norm_forward({x, saved.projected_RD.view(x.sizes()), first.gate_BD, stream.attn->proj->bias,
                                second.shift_BD, second.scale_BD, kLayerNormEps, middle_BLD, normed_BLD, saved.mean2_BL,
                                saved.rstd2_BL});
    saved.middle_BLD = middle_BLD;
    saved.normed2_RD = rows(normed_BLD);
  }
  if (!saved.hidden_RM.defined()) {
    saved.hidden_RM = torch::empty({batch * tokens, stream.mlp->in->weight.size(0)}, x.options());
    linear_forward(saved.hidden_RM, saved.normed2_RD, stream.mlp->in->weight);
  }
  if (!saved.activated_RM.defined()) {
    saved.activated_RM = torch::empty_like(saved.hidden_RM);
    gelu_forward(one_batch(saved.hidden_RM), stream.mlp->in->bias, one_batch(saved.activated_RM));
  }
  if (!saved.out_RD.defined()) {
    saved.out_RD = torch::empty_like(saved.projected_RD);
    linear_forward(saved.out_RD, saved.activated_RM, stream.mlp->out->weight);
    sum_over_tp(context, saved.out_RD).wait();
  }
}

torch::Tensor DoubleBlock::finish(const BlockContext& context, const Stream& stream, const StreamSaved& saved) {
  const int64_t hidden_size = saved.x_BLD.size(2);
  const ModulationViews mod =
      modulation_views(context.modulation_BM, stream.modulation_begin + 3 * hidden_size, hidden_size);
  torch::Tensor out_BLD = torch::empty_like(saved.middle_BLD);
  gate_residual_forward(saved.middle_BLD, saved.out_RD.view(out_BLD.sizes()), mod.gate_BD, stream.mlp->out->bias,
                        out_BLD);
  return out_BLD;
}

DoubleBlock::Streams DoubleBlock::backward(const BlockContext& context, Saved& saved, Streams dout) {
  compute_attention(context, saved);
  compute_mlp(context, txt_, saved.txt, saved.attention, 0);
  compute_mlp(context, img_, saved.img, saved.attention, context.num_text_tokens);

  torch::Tensor dattention_BLHD =
      torch::empty_like(saved.attention.out_BHLD.transpose(1, 2), torch::MemoryFormat::Contiguous);
  backward_mlp(context, txt_, saved.txt, dout.txt_BTD, dattention_BLHD, 0);
  backward_mlp(context, img_, saved.img, dout.img_BID, dattention_BLHD, context.num_text_tokens);
  const AttentionGradients grads =
      attention_backward(dattention_BLHD.transpose(1, 2), saved.q_BHLD, saved.k_BHLD, saved.v_BHLD, saved.attention);
  if (context.dangle_BLP.defined()) {
    add_angle_gradient(context.dangle_BLP, saved.q_BHLD, grads.dq_BHLD);
    add_angle_gradient(context.dangle_BLP, saved.k_BHLD, grads.dk_BHLD);
  }
  backward_qkv(context, txt_, saved.txt, grads, dout.txt_BTD, 0);
  backward_qkv(context, img_, saved.img, grads, dout.img_BID, context.num_text_tokens);
  return dout;
}

// From the gradient of the stream's output to that of its middle (in place in d_BLD) and of the attention's output.
void DoubleBlock::backward_mlp(const BlockContext& context, Stream& stream, const StreamSaved& saved,
                               torch::Tensor& d_BLD, torch::Tensor& dattention_BLHD, int64_t token_begin) {
  const int64_t hidden_size = d_BLD.size(2), batch = d_BLD.size(0), tokens = d_BLD.size(1);
  const ModulationViews first = modulation_views(context.modulation_BM, stream.modulation_begin, hidden_size);
  const ModulationViews second =
      modulation_views(context.modulation_BM, stream.modulation_begin + 3 * hidden_size, hidden_size);
  const ModulationViews dfirst = modulation_views(context.dmodulation_BM, stream.modulation_begin, hidden_size);
  const ModulationViews dsecond =
      modulation_views(context.dmodulation_BM, stream.modulation_begin + 3 * hidden_size, hidden_size);
  Linear& in = *stream.mlp->in;
  Linear& out = *stream.mlp->out;

  torch::Tensor branch_BLD = torch::empty_like(d_BLD);
  gate_residual_backward(d_BLD, saved.out_RD.view(d_BLD.sizes()), second.gate_BD, out.bias, branch_BLD, dsecond.gate_BD,
                         out.bias.grad(), /*accumulate_dbias=*/true);
  linear_backward_weight(out.weight.grad(), rows(branch_BLD), saved.activated_RM);
  torch::Tensor dhidden_RM = torch::empty_like(saved.hidden_RM);
  linear_backward_input(dhidden_RM, rows(branch_BLD), out.weight);
  gelu_backward(one_batch(dhidden_RM), one_batch(saved.hidden_RM), in.bias, one_batch(dhidden_RM), in.bias.grad(),
                /*accumulate_dbias=*/true);
  torch::Tensor dnormed_RD = rows(branch_BLD);
  linear_backward_input(dnormed_RD, dhidden_RM, in.weight);
  Work sum = sum_over_tp(context, dnormed_RD);
  linear_backward_weight(in.weight.grad(), dhidden_RM, saved.normed2_RD);
  sum.wait();

  Linear& proj = *stream.attn->proj;
  gate_residual_norm_backward({branch_BLD, saved.middle_BLD, second.scale_BD, saved.mean2_BL, saved.rstd2_BL,
                               saved.projected_RD.view(d_BLD.sizes()), first.gate_BD, proj.bias, d_BLD,
                               dsecond.shift_BD, dsecond.scale_BD, /*dy_BLD=*/branch_BLD, dfirst.gate_BD,
                               proj.bias.grad(), /*accumulate_dbias=*/true});
  linear_backward_weight(proj.weight.grad(), rows(branch_BLD), saved.merged_RD);
  torch::Tensor dmerged_RD = matrix_product(rows(branch_BLD), proj.weight);
  dattention_BLHD.narrow(1, token_begin, tokens).copy_(dmerged_RD.view({batch, tokens, context.num_heads, -1}));
}

// From the gradients of queries, keys and values to that of the stream's input, added to d_BLD.
void DoubleBlock::backward_qkv(const BlockContext& context, Stream& stream, const StreamSaved& saved,
                               const AttentionGradients& grads, torch::Tensor& d_BLD, int64_t token_begin) {
  const int64_t hidden_size = d_BLD.size(2);
  const ModulationViews mod = modulation_views(context.modulation_BM, stream.modulation_begin, hidden_size);
  const ModulationViews dmod = modulation_views(context.dmodulation_BM, stream.modulation_begin, hidden_size);
  SelfAttention& attn = *stream.attn;
  torch::Tensor dqkv_RE = torch::empty_like(saved.qkv_RE);
  const int64_t batch = d_BLD.size(0), tokens = d_BLD.size(1);
  const RopeTable rope = context.rope.rows(token_begin, tokens);
  ScaleGradients scales(context, *attn.norm);
  qk_norm_rope_backward({grads.dq_BHLD, grads.dk_BHLD, grads.dv_BHLD, saved.qkv_RE.view({batch, tokens, -1}),
                         attn.qkv->bias, attn.norm->query_norm->scale, attn.norm->key_norm->scale, rope.cos_LP,
                         rope.sin_LP, context.qk_norm_eps, token_begin, dqkv_RE.view({batch, tokens, -1}),
                         scales.query_D, scales.key_D, attn.qkv->bias.grad(),
                         /*accumulate=*/true});
  scales.finish();
  torch::Tensor dnormed_BLD = torch::empty_like(d_BLD);
  torch::Tensor dnormed_RD = rows(dnormed_BLD);
  linear_backward_input(dnormed_RD, dqkv_RE, attn.qkv->weight);
  Work sum = sum_over_tp(context, dnormed_RD);
  linear_backward_weight(attn.qkv->weight.grad(), dqkv_RE, saved.normed1_RD);
  sum.wait();
  norm_modulate_backward(dnormed_BLD, saved.x_BLD, mod.scale_BD, saved.mean1_BL, saved.rstd1_BL, d_BLD,
                         /*accumulate_dx=*/true, dmod.shift_BD, dmod.scale_BD);
}

}  // namespace millrace::flux
