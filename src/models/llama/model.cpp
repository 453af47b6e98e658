#include "models/llama/model.h"

#include <algorithm>

#include "base/error.h"
#include "comm/mesh.h"
#include "kernels/rms_norm/rms_norm.h"
#include "models/llama/rope_frequencies.h"
#include "models/llama/shard_plan.h"
#include "nn/embedding_gradient.h"
#include "nn/quantised_weight.h"
#include "nn/select_rows.h"
#include "nn/token_ids.h"
#include "parallel/tensor_parallel.h"
#include "parallel/tensor_share.h"

namespace millrace::llama {
namespace {

// An inner node of the module tree: it only lends its name.
struct InnerNode : torch::nn::Module {};

UnitSpec unit_of(const LlamaConfig& config, const std::string& name, const std::string& prefix,
                 const torch::nn::Module& module) {
  UnitSpec unit = packed_unit(name, prefix, module);
  unit.packed = false;  // no two layers are used as one matrix, so that each weight may stay in its file
  for (const auto& parameter : unit.parameters) unit.splits.push_back(tensor_split(config, parameter.first));
  return unit;
}

}  // namespace

Llama::Llama(const LlamaConfig& config, const FlatParametersOptions& placement)
    : FlatModel("Llama"), config_(config), frequencies_P_(rope_frequencies(config.rope, config.head_dim)) {
  check(config, "the model's sizes");
  const int tp_size = placement.mesh ? placement.mesh->shape().tp : 1;
  check_tensor_parallel(config, tp_size);
  check_offload(placement, config.num_hidden_layers);
  if (tp_size > 1) tp_ = &placement.mesh->tp();
  const TensorPart tokens{tensor_split(config, "lm_head.weight"), tp_size, tp_ ? tp_->rank() : 0};
  const int64_t own_tokens = tokens.shape({config.vocab_size})[0];
  const auto model = register_module("model", std::make_shared<InnerNode>());
  embed_tokens_ =
      model->register_module("embed_tokens", std::make_shared<Linear>(config.hidden_size, own_tokens, false));
  std::vector<UnitSpec> units = {unit_of(config, "embed_tokens", "model.embed_tokens.", *embed_tokens_)};
  const auto layers = model->register_module("layers", std::make_shared<InnerNode>());
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string name = std::to_string(i);
    blocks_.push_back(layers->register_module(name, std::make_shared<Block>(config, i, tp_size)));
    if (placement.base_storage != BaseStorage::kDense) {
      MILLRACE_CHECK(!placement.training && tp_size == 1);
      store_quantised(*blocks_.back(), [](const std::string&) { return true; });
    }
    units.push_back(unit_of(config, "layer " + name, "model.layers." + name + ".", *blocks_.back()));
    units.back().offloaded = lies_on_host(i, config.num_hidden_layers, placement.offload_blocks);
    for (const auto& [layer, weight] : quantised_weights(*blocks_.back())) units.back().quantised.push_back(weight);
  }
  norm_ = model->register_module("norm",
                                 std::make_shared<PlainRmsNorm>(config.hidden_size, config.rms_norm_eps, kUnplaced));
  units.back().parameters.emplace_back("model.norm.weight", norm_->weight);
  units.back().splits.emplace_back();

  // The units in the order of use: a tied embedding comes first and last.
  std::vector<size_t> order;
  for (size_t unit = 0; unit < units.size(); ++unit) order.push_back(unit);
  if (config.tie_word_embeddings) {
    lm_head_ = embed_tokens_;
    order.push_back(0);
  } else {
    lm_head_ = register_module("lm_head", std::make_shared<Linear>(config.hidden_size, own_tokens, false));
    order.push_back(units.size());
    units.push_back(unit_of(config, "lm_head", "lm_head.", *lm_head_));
  }
  flat_ = std::make_unique<FlatParameters>(std::move(units), placement, std::move(order));
}

std::map<std::string, std::shared_ptr<Linear>> Llama::linear_layers() const {
  std::map<std::string, std::shared_ptr<Linear>> layers = {{"lm_head", lm_head_}};
  for (size_t i = 0; i < blocks_.size(); ++i) {
    for (const auto& item : blocks_[i]->named_modules("model.layers." + std::to_string(i))) {
      if (const auto layer = std::dynamic_pointer_cast<Linear>(item.value())) layers[item.key()] = layer;
    }
  }
  return layers;
}

VocabularyShare Llama::vocabulary() const {
  if (!tp_) return {};
  const TensorPart tokens{tensor_split(config_, "lm_head.weight"), tp_->size(), tp_->rank()};
  return {tp_, share_of(tokens, config_.vocab_size).begin, config_.vocab_size};
}

// A rank looks up the tokens whose rows it has; the others add nothing to the sum over the ranks. [U, D].
torch::Tensor Llama::embed(const torch::Tensor& ids_T, const TokenShare& share) const {
  const torch::Tensor& weight_VD = embed_tokens_->weight().dense();
  if (!tp_ || ids_T.is_meta()) return share.sum(select_rows(weight_VD, ids_T));
  const torch::Tensor row_T = ids_T - vocabulary().begin;
  const torch::Tensor is_other_T = row_T.lt(0).logical_or_(row_T.ge(weight_VD.size(0)));
  torch::Tensor x_TD = select_rows(weight_VD, row_T.masked_fill(is_other_T, 0));
  x_TD.masked_fill_(is_other_T.unsqueeze(1), 0);
  return share.sum(x_TD);
}

void Llama::add_embedding_gradients(const torch::Tensor& ids_T, const torch::Tensor& d_TD) const {
  const torch::Tensor dweight_VD = embed_tokens_->weight().dense().grad();
  if (!tp_ || ids_T.is_meta()) return add_embedding_gradient(dweight_VD, ids_T, d_TD);
  const torch::Tensor row_T = ids_T - vocabulary().begin;
  const torch::Tensor own_U = row_T.ge(0).logical_and_(row_T.lt(dweight_VD.size(0))).nonzero().squeeze(1);
  if (own_U.size(0) == 0) return;
  add_embedding_gradient(dweight_VD, select_rows(row_T, own_U), select_rows(d_TD, own_U));
}

bool Llama::is_adapted() const {
  const auto layers = linear_layers();
  return std::any_of(layers.begin(), layers.end(), [](const auto& item) { return item.second->adapter() != nullptr; });
}

torch::Tensor Llama::forward_hidden(const PackedTokens& tokens, Saved* saved, Keep keep) {
  const torch::NoGradGuard no_grad;
  check_token_ids("Llama", tokens.ids_T.unsqueeze(0), config_.vocab_size);
  Saved local;
  Saved& work = saved ? *saved : local;
  const bool trains = saved != nullptr;
  work.ids_T = tokens.ids_T;
  work.documents = std::make_shared<Documents>(tokens.documents);
  const RotaryTables tables = rotary_tables(tokens.positions_T, frequencies_P_);
  const TokenShare share(tp_, tokens.ids_T.size(0), /*divides=*/true);
  work.context = {work.documents.get(), tables.cos_TP, tables.sin_TP, share};

  torch::Tensor x_UD;
  {
    const UnitUse use = flat_->forward_unit(0, trains);
    x_UD = embed(tokens.ids_T, share);
  }
  work.blocks.resize(saved ? blocks_.size() : 0);
  work.offloaded = saved ? start_offloading(keep) : nullptr;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const UnitUse use = flat_->forward_unit(i + 1, trains);
    x_UD = blocks_[i]->forward(work.context, x_UD, saved ? &work.blocks[i] : nullptr,
                               work.offloaded ? Keep::kInputs : keep);
    if (work.offloaded) work.offloaded->take(i + 1, {&work.blocks[i].x_UD});
    if (i + 1 < blocks_.size()) continue;
    work.last_UD = x_UD;
    work.rstd_U = torch::empty({x_UD.size(0)}, x_UD.options().dtype(torch::kFloat32));
    const torch::Tensor hidden_UD = torch::empty_like(x_UD);
    rms_norm_forward(x_UD, norm_->weight, config_.rms_norm_eps, hidden_UD, work.rstd_U);
    work.hidden_TD = share.gather(hidden_UD);
  }
  return work.hidden_TD;
}

torch::Tensor Llama::logits(const torch::Tensor& hidden_TD) {
  const torch::NoGradGuard no_grad;
  const UnitUse use = flat_->forward_unit(head_unit(), /*keep=*/true);
  torch::Tensor own_TV = torch::empty({hidden_TD.size(0), lm_head_->out_features()}, hidden_TD.options());
  lm_head_->forward(own_TV, hidden_TD);
  if (!tp_) return own_TV;
  torch::Tensor logits_TV = torch::zeros({hidden_TD.size(0), config_.vocab_size}, hidden_TD.options());
  logits_TV.narrow(1, vocabulary().begin, own_TV.size(1)).copy_(own_TV);
  sum_over_tp(tp_, logits_TV).wait();
  return logits_TV;
}

std::vector<KeyValueCache> Llama::make_cache(int64_t capacity) const {
  const int64_t heads = config_.num_key_value_heads / (tp_ ? tp_->size() : 1);
  const torch::Tensor empty_SGK = torch::empty({capacity, heads, config_.head_dim}, flat_->compute().options());
  std::vector<KeyValueCache> cache(blocks_.size());
  for (KeyValueCache& layer : cache) layer = {torch::empty_like(empty_SGK), torch::empty_like(empty_SGK), 0};
  return cache;
}

torch::Tensor Llama::next_logits(const torch::Tensor& ids_T, std::vector<KeyValueCache>& cache) {
  const torch::NoGradGuard no_grad;
  check_token_ids("Llama", ids_T.unsqueeze(0), config_.vocab_size);
  const int64_t tokens = ids_T.size(0), before = cache.at(0).length;
  const Documents document({tokens}, ids_T.device());
  const RotaryTables tables = rotary_tables(torch::arange(before, before + tokens, ids_T.options()), frequencies_P_);
  const TokenShare share(tp_, tokens, /*divides=*/false);  // of one token there is nothing to divide
  const BlockContext context = {&document, tables.cos_TP, tables.sin_TP, share};
  torch::Tensor x_TD;
  {
    const UnitUse use = flat_->forward_unit(0, /*keep=*/false);
    x_TD = embed(ids_T, share);
  }
  torch::Tensor hidden_1D;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const UnitUse use = flat_->forward_unit(i + 1, /*keep=*/false);
    x_TD = blocks_[i]->extend(context, x_TD, cache[i]);
    if (i + 1 < blocks_.size()) continue;
    x_TD = x_TD.narrow(0, tokens - 1, 1);
    hidden_1D = torch::empty_like(x_TD);
    rms_norm_forward(x_TD, norm_->weight, config_.rms_norm_eps, hidden_1D, {});
  }
  return logits(hidden_1D).squeeze(0);
}

TokenLoss Llama::loss(const torch::Tensor& hidden_TD, const torch::Tensor& labels_T) {
  const UnitUse use = flat_->forward_unit(head_unit(), /*keep=*/true);
  return linear_cross_entropy(*lm_head_, hidden_TD, labels_T, vocabulary());
}

TokenLoss Llama::backward_loss(Saved& saved, const torch::Tensor& labels_T, double scale) {
  TokenLoss loss;
  torch::Tensor dhidden_TD;
  {
    const UnitUse use = flat_->backward_unit(head_unit());
    loss = linear_cross_entropy_with_gradients(*lm_head_, saved.hidden_TD, labels_T, scale, dhidden_TD, vocabulary());
  }
  backward_hidden(saved, dhidden_TD);
  return loss;
}

torch::Tensor Llama::backward_logits(const Saved& saved, const torch::Tensor& dlogits_TV) {
  const torch::NoGradGuard no_grad;
  const UnitUse use = flat_->backward_unit(head_unit());
  const torch::Tensor own_TV =
      tp_ ? dlogits_TV.narrow(1, vocabulary().begin, lm_head_->out_features()).contiguous() : dlogits_TV;
  const torch::Tensor dhidden_TD = lm_head_->backward(own_TV.to(saved.hidden_TD.scalar_type()), saved.hidden_TD);
  sum_over_tp(tp_, dhidden_TD).wait();
  return dhidden_TD;
}

void Llama::backward_hidden(Saved& saved, const torch::Tensor& dhidden_TD) {
  const torch::NoGradGuard no_grad;
  const bool embedding_trains = flat_->are_trained();
  const TokenShare& share = saved.context.share;
  if (saved.offloaded) saved.offloaded->start_backward();
  torch::Tensor d_UD = torch::empty_like(saved.last_UD);
  for (size_t i = blocks_.size(); i-- > 0;) {
    const UnitUse use = flat_->backward_unit(i + 1);
    if (i + 1 == blocks_.size()) {
      SharedGradients norm_gradient(share.divided(), {norm_->weight.grad()});
      rms_norm_backward(share.own_rows(dhidden_TD), saved.last_UD, norm_->weight, saved.rstd_U, d_UD,
                        /*accumulate_dx=*/false, norm_gradient.target(0), /*accumulate_dweight=*/true);
      norm_gradient.finish();
      saved.last_UD = saved.hidden_TD = torch::Tensor();
    }
    if (saved.offloaded) saved.offloaded->enter(i + 1, {&saved.blocks[i].x_UD});
    d_UD = blocks_[i]->backward(saved.context, saved.blocks[i], d_UD, /*wants_dx=*/i > 0 || embedding_trains);
    saved.blocks[i] = {};
    if (saved.offloaded) saved.offloaded->leave();
  }
  if (saved.offloaded) saved.offloaded->finish_backward();
  const UnitUse use = flat_->backward_unit(0);  // by every rank, whether there is anything to compute or not
  if (embedding_trains) add_embedding_gradients(saved.ids_T, share.gather(d_UD));
  saved = {};
}

}  // namespace millrace::llama
