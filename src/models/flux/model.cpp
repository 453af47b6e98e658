#include "models/flux/model.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/mesh.h"
#include "kernels/norm_modulate/norm_modulate.h"
#include "models/flux/final_layer.h"
#include "models/flux/shard_plan.h"
#include "nn/quantised_weight.h"
#include "nn/timestep_embedding.h"
#include "parallel/tensor_parallel.h"

namespace millrace::flux {
namespace {

constexpr int64_t kTimeEmbeddingDim = 256;

torch::Tensor cast(const torch::Tensor& x, const torch::Tensor& like) {
  return x.to(like.device(), like.scalar_type()).contiguous();
}

// One row of positions when all samples share them, else one per sample.
torch::Tensor join_ids(const torch::Tensor& txt_ids, const torch::Tensor& img_ids) {
  const int64_t batch = std::max(txt_ids.size(0), img_ids.size(0));
  const auto expanded = [&](const torch::Tensor& ids) {
    return ids.to(torch::kFloat32).expand({batch, ids.size(1), ids.size(2)});
  };
  return at::cat({expanded(txt_ids), expanded(img_ids)}, 1);
}

}  // namespace

Flux::Flux(const FluxConfig& config, const FlatParametersOptions& options) : config_(config) {
  check(config, "FLUX configuration");
  const int tp_size = options.mesh ? options.mesh->shape().tp : 1;
  check_tensor_parallel(config, tp_size);
  if (tp_size > 1) tp_ = &options.mesh->tp();
  const int64_t h = config.hidden_size;
  img_in_ = register_module("img_in", std::make_shared<Linear>(config.in_channels, h));
  txt_in_ = register_module("txt_in", std::make_shared<Linear>(config.context_in_dim, h));
  time_in_ = register_module("time_in", std::make_shared<MlpEmbedder>(kTimeEmbeddingDim, h));
  vector_in_ = register_module("vector_in", std::make_shared<MlpEmbedder>(config.vec_in_dim, h));
  if (config.guidance_embed) {
    guidance_in_ = register_module("guidance_in", std::make_shared<MlpEmbedder>(kTimeEmbeddingDim, h));
  }
  // Containers, so that block i has the name double_blocks.<i>.
  const auto doubles = register_module("double_blocks", std::make_shared<torch::nn::Module>());
  const auto singles = register_module("single_blocks", std::make_shared<torch::nn::Module>());
  int64_t modulation_begin = 0;
  for (int64_t i = 0; i < config.depth; ++i, modulation_begin += 12 * h) {
    double_blocks_.push_back(
        doubles->register_module(std::to_string(i), std::make_shared<DoubleBlock>(config, modulation_begin, tp_size)));
  }
  for (int64_t i = 0; i < config.depth_single_blocks; ++i, modulation_begin += 3 * h) {
    single_blocks_.push_back(
        singles->register_module(std::to_string(i), std::make_shared<SingleBlock>(config, modulation_begin, tp_size)));
  }
  final_layer_ = register_module("final_layer", std::make_shared<FinalLayer>(config));
  if (options.base_storage != BaseStorage::kDense) {
    MILLRACE_CHECK(!options.training && tp_size == 1);
    store_quantised(*this, [](const std::string& name) {
      return starts_with(name, "double_blocks.") || starts_with(name, "single_blocks.");
    });
  }
  check_offload(options, config.depth + config.depth_single_blocks);
  const bool sharded = options.mesh && options.mesh->shard().size() > 1;
  flat_ = std::make_unique<FlatParameters>(unit_specs(sharded, options.offload_blocks), options);
}

// The sum of the embedded timestep, guidance and pooled text.
torch::Tensor Flux::embed_vector(const FluxInputs& inputs, Saved& saved, bool keep) {
  const torch::Tensor& like = flat_->compute();
  const auto optional_saved = [&](MlpEmbedder::Saved& part) { return keep ? &part : nullptr; };
  torch::Tensor vec_BD = time_in_->forward(cast(timestep_embedding(inputs.timesteps_B, kTimeEmbeddingDim), like),
                                           optional_saved(saved.time));
  if (guidance_in_) {
    vec_BD = vec_BD + guidance_in_->forward(cast(timestep_embedding(inputs.guidance_B, kTimeEmbeddingDim), like),
                                            optional_saved(saved.guidance));
  }
  return vec_BD + vector_in_->forward(cast(inputs.y_BV, like), optional_saved(saved.vector));
}

torch::Tensor Flux::forward(const FluxInputs& inputs, Saved* saved, Keep keep) {
  const torch::NoGradGuard no_grad;
  Saved local;
  Saved& work = saved ? *saved : local;
  const torch::Tensor& like = flat_->compute();
  const int64_t batch = inputs.img_BIC.size(0), h = config_.hidden_size;
  work.inputs = inputs;
  work.inputs.img_BIC = cast(inputs.img_BIC, like);
  work.inputs.txt_BTX = cast(inputs.txt_BTX, like);
  const int64_t image_tokens = inputs.img_BIC.size(1), text_tokens = inputs.txt_BTX.size(1);

  const bool trains = saved != nullptr;
  DoubleBlock::Streams streams;
  {
    const UnitUse use = flat_->forward_unit(0, trains);
    work.vec_BD = embed_vector(inputs, work, trains);
    const auto embed = [&](Linear& layer, const torch::Tensor& x_BLC) {
      return layer.apply(x_BLC.flatten(0, 1)).view({batch, x_BLC.size(1), h});
    };
    streams = {embed(*img_in_, work.inputs.img_BIC), embed(*txt_in_, work.inputs.txt_BTX)};
  }
  work.activated_vec_BD = at::silu(work.vec_BD);

  BlockContext& context = work.context;
  context = {};
  context.num_heads = config_.num_heads / (tp_ ? tp_->size() : 1);
  context.head_dim = config_.head_dim();
  context.tp = tp_;
  context.qk_norm_eps = config_.qk_norm_eps;
  context.num_text_tokens = text_tokens;
  context.padding = {text_tokens, inputs.text_lengths};
  context.rope =
      rope_table(join_ids(inputs.txt_ids_BTA, inputs.img_ids_BIA).to(like.device()), config_.axes_dim, config_.theta);
  context.modulation_BM = modulate(work.activated_vec_BD, trains);

  size_t unit = first_block_unit_;
  work.offloaded = saved ? start_offloading(keep) : nullptr;
  const Keep keep_in_blocks = work.offloaded ? Keep::kInputs : keep;
  work.double_blocks.resize(saved ? double_blocks_.size() : 0);
  for (size_t i = 0; i < double_blocks_.size(); ++i, ++unit) {
    const UnitUse use = flat_->forward_unit(unit, trains);
    streams = double_blocks_[i]->forward(context, streams, saved ? &work.double_blocks[i] : nullptr, keep_in_blocks);
    if (work.offloaded) {
      work.offloaded->take(unit, {&work.double_blocks[i].img.x_BLD, &work.double_blocks[i].txt.x_BLD});
    }
  }
  torch::Tensor x_BLD = at::cat({streams.txt_BTD, streams.img_BID}, 1);
  streams = {};
  work.single_blocks.resize(saved ? single_blocks_.size() : 0);
  for (size_t i = 0; i < single_blocks_.size(); ++i, ++unit) {
    const UnitUse use = flat_->forward_unit(unit, trains);
    x_BLD = single_blocks_[i]->forward(context, x_BLD, saved ? &work.single_blocks[i] : nullptr, keep_in_blocks);
    if (work.offloaded) work.offloaded->take(unit, {&work.single_blocks[i].x_BLD});
  }

  work.final_in_BID = x_BLD.narrow(1, text_tokens, image_tokens).contiguous();
  const int64_t final_begin = context.modulation_BM.size(1) - 2 * h;
  work.final_mean_BI = torch::empty({batch, image_tokens}, like.options().dtype(torch::kFloat32));
  work.final_rstd_BI = torch::empty_like(work.final_mean_BI);
  work.final_normed_BID = torch::empty_like(work.final_in_BID);
  norm_modulate_forward(work.final_in_BID, context.modulation_BM.narrow(1, final_begin, h),
                        context.modulation_BM.narrow(1, final_begin + h, h), kLayerNormEps, work.final_normed_BID,
                        work.final_mean_BI, work.final_rstd_BI);
  const UnitUse use = flat_->forward_unit(unit, trains);
  return final_layer_->linear->apply(work.final_normed_BID.flatten(0, 1)).view({batch, image_tokens, -1});
}

void Flux::backward(Saved& saved, const torch::Tensor& doutput_BIC, FluxInputGradients* input_gradients) {
  const torch::NoGradGuard no_grad;
  BlockContext& context = saved.context;
  const int64_t h = config_.hidden_size, batch = doutput_BIC.size(0);
  const int64_t text_tokens = context.num_text_tokens, image_tokens = doutput_BIC.size(1);
  context.dmodulation_BM = torch::empty_like(context.modulation_BM);
  if (input_gradients && input_gradients->of == FluxInputGradients::Of::kAll) {
    context.dangle_BLP = torch::zeros({batch, text_tokens + image_tokens, config_.head_dim() / 2},
                                      context.modulation_BM.options().dtype(torch::kFloat32));
  }

  if (saved.offloaded) saved.offloaded->start_backward();

  // Final layer. The gradient of the text tokens starts at zero: the final layer does not read them.
  size_t unit = flat_->units().size() - 1;
  torch::Tensor dfinal_BID;
  {
    const UnitUse use = flat_->backward_unit(unit--);
    dfinal_BID = final_layer_->linear
                     ->backward(cast(doutput_BIC, flat_->compute()).flatten(0, 1), saved.final_normed_BID.flatten(0, 1))
                     .view({batch, image_tokens, h});
  }
  torch::Tensor dx_BLD = torch::zeros({batch, text_tokens + image_tokens, h}, dfinal_BID.options());
  const int64_t final_begin = context.modulation_BM.size(1) - 2 * h;
  norm_modulate_backward(dfinal_BID, saved.final_in_BID, context.modulation_BM.narrow(1, final_begin + h, h),
                         saved.final_mean_BI, saved.final_rstd_BI, dx_BLD.narrow(1, text_tokens, image_tokens),
                         /*accumulate_dx=*/false, context.dmodulation_BM.narrow(1, final_begin, h),
                         context.dmodulation_BM.narrow(1, final_begin + h, h));
  saved.final_in_BID = saved.final_normed_BID = torch::Tensor();

  for (size_t i = single_blocks_.size(); i-- > 0; --unit) {
    const UnitUse use = flat_->backward_unit(unit);
    if (saved.offloaded) saved.offloaded->enter(unit, {&saved.single_blocks[i].x_BLD});
    dx_BLD = single_blocks_[i]->backward(context, saved.single_blocks[i], dx_BLD);
    saved.single_blocks[i] = {};
    if (saved.offloaded) saved.offloaded->leave();
  }
  DoubleBlock::Streams dstreams = {dx_BLD.narrow(1, text_tokens, image_tokens).contiguous(),
                                   dx_BLD.narrow(1, 0, text_tokens).contiguous()};
  dx_BLD = torch::Tensor();
  for (size_t i = double_blocks_.size(); i-- > 0; --unit) {
    const UnitUse use = flat_->backward_unit(unit);
    DoubleBlock::Saved& block = saved.double_blocks[i];
    if (saved.offloaded) saved.offloaded->enter(unit, {&block.img.x_BLD, &block.txt.x_BLD});
    dstreams = double_blocks_[i]->backward(context, block, std::move(dstreams));
    block = {};
    if (saved.offloaded) saved.offloaded->leave();
  }
  if (saved.offloaded) saved.offloaded->finish_backward();

  const bool wants_embedders = input_gradients != nullptr || embedders_train();
  const torch::Tensor dvec_BD = backward_modulation(saved, wants_embedders);
  const UnitUse use = flat_->backward_unit(0);  // collective: by every rank, even with nothing to compute
  if (wants_embedders) backward_embedders(saved, dstreams, dvec_BD, input_gradients);
  saved = {};
}

bool Flux::embedders_train() const {
  return flat_->are_trained() || img_in_->adapter() || txt_in_->adapter() || time_in_->is_adapted() ||
         vector_in_->is_adapted() || (guidance_in_ && guidance_in_->is_adapted());
}

void Flux::backward_embedders(const Saved& saved, const DoubleBlock::Streams& dstreams, const torch::Tensor& dvec_BD,
                              FluxInputGradients* input_gradients) {
  using Of = FluxInputGradients::Of;
  const bool wants_all = input_gradients && input_gradients->of == Of::kAll;
  const bool wants_txt = input_gradients && input_gradients->of != Of::kPooled;
  const torch::Tensor dimg_BIC =
      img_in_->backward(dstreams.img_BID.flatten(0, 1), saved.inputs.img_BIC.flatten(0, 1), wants_all);
  const torch::Tensor dtxt_BTX =
      txt_in_->backward(dstreams.txt_BTD.flatten(0, 1), saved.inputs.txt_BTX.flatten(0, 1), wants_txt);
  const torch::Tensor dtime_BN = time_in_->backward(dvec_BD, saved.time);
  const torch::Tensor dy_BV = vector_in_->backward(dvec_BD, saved.vector);
  torch::Tensor dguidance_BN;
  if (guidance_in_) dguidance_BN = guidance_in_->backward(dvec_BD, saved.guidance);
  if (!input_gradients) return;
  input_gradients->y_BV = dy_BV;
  if (wants_txt) input_gradients->txt_BTX = dtxt_BTX.view(saved.inputs.txt_BTX.sizes());
  if (!wants_all) return;

  // Rope's angles are linear in the positions: one gradient per token, of every rank's heads.
  const int64_t batch = dstreams.img_BID.size(0);
  const int64_t text_tokens = dstreams.txt_BTD.size(1), image_tokens = dstreams.img_BID.size(1);
  sum_over_tp(tp_, saved.context.dangle_BLP).wait();
  const torch::Tensor dids_BLA = rope_ids_gradient(saved.context.dangle_BLP, config_.axes_dim, config_.theta);
  const auto like_ids = [&](const torch::Tensor& dids, const torch::Tensor& ids) {
    return ids.size(0) == batch ? dids.contiguous() : dids.sum(0, /*keepdim=*/true);
  };
  input_gradients->img_BIC = dimg_BIC.view(saved.inputs.img_BIC.sizes());
  input_gradients->img_ids_BIA = like_ids(dids_BLA.narrow(1, text_tokens, image_tokens), saved.inputs.img_ids_BIA);
  input_gradients->txt_ids_BTA = like_ids(dids_BLA.narrow(1, 0, text_tokens), saved.inputs.txt_ids_BTA);
  input_gradients->timesteps_B = timestep_embedding_backward(dtime_BN, saved.inputs.timesteps_B);
  if (guidance_in_) {
    input_gradients->guidance_B = timestep_embedding_backward(dguidance_BN, saved.inputs.guidance_B);
  }
}

}  // namespace millrace::flux
