// The Llama 3 decoder (arXiv 2407.21783) and its relatives (config.h), for one device, sharded, or shared by ranks
// (shard_plan.h).
//
// The backward pass is written out, layer by layer: each keeps, or computes again, what activation_checkpoint.mode
// says, and adds gradients straight into the flat gradient buffer. A model made without training is frozen: its
// backward pass computes what adapters on its layers need and nothing for its own weights. Letters: layers.h.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "models/llama/block.h"
#include "models/llama/packed_tokens.h"
#include "nn/linear_cross_entropy.h"
#include "parallel/flat_model.h"

namespace millrace::llama {

class Llama : public FlatModel {
 public:
  // Sharded over placement.mesh, all ranks of the shard axis must pass equally often. Ranks of its tp axis pass the
  // same tokens and get the same results, to the bit. Throws ConfigError for a tp axis that the sizes do not divide by,
  // and for one with another storage than dense.
  Llama(const LlamaConfig& config, const FlatParametersOptions& placement);

  const LlamaConfig& config() const { return config_; }
  // For the gradients of the weights; a model made for training has them already.
  void allocate_gradients() { flat_->allocate_gradients(); }

  // Weights for training from nothing: normal with a deviation of 0.02, norms of 1, no biases. Keyed by seed and name,
  // so that they are the same on any number of ranks.
  void initialize(uint64_t seed);

  // The layers that an adapter may be put on, by their names in files. A tied output layer is among them.
  std::map<std::string, std::shared_ptr<Linear>> linear_layers() const;
  bool is_adapted() const;

  // What the backward pass needs of one forward pass.
  struct Saved {
    torch::Tensor ids_T;
    std::shared_ptr<const Documents> documents;
    BlockContext context;
    std::vector<Block::Saved> blocks;
    OffloadedInputs* offloaded = nullptr;      // has the blocks' inputs; null: they are in blocks
    torch::Tensor last_UD, rstd_U, hidden_TD;  // before and after the final norm
  };

  // The hidden states after the final norm [T, D]. With saved, keeps what backward_hidden() needs.
  torch::Tensor forward_hidden(const PackedTokens& tokens, Saved* saved = nullptr, Keep keep = Keep::kOutputs);
  // hidden_TD's logits [T, V].
  torch::Tensor logits(const torch::Tensor& hidden_TD);

  // An empty cache for a sequence of up to capacity tokens.
  std::vector<KeyValueCache> make_cache(int64_t capacity) const;
  // The logits [V] of what follows ids_T (int64), which come after the tokens in the cache: the first call takes any
  // number, later ones one. The cache takes them in.
  torch::Tensor next_logits(const torch::Tensor& ids_T, std::vector<KeyValueCache>& cache);

  // The loss of predicting labels_T (nn/linear_cross_entropy.h) from hidden_TD; logits never exist as a whole.
  TokenLoss loss(const torch::Tensor& hidden_TD, const torch::Tensor& labels_T);

  // The loss of a pass, and the gradients of scale times its sum for all that is trained: the backward pass of a
  // training step. Uses saved up.
  TokenLoss backward_loss(Saved& saved, const torch::Tensor& labels_T, double scale);
  // Its two halves for the gradient of logits. Adds the output layer's gradients and returns the gradient of hidden_TD.
  torch::Tensor backward_logits(const Saved& saved, const torch::Tensor& dlogits_TV);
  // Adds to the gradients of everything before the output layer. Uses saved up.
  void backward_hidden(Saved& saved, const torch::Tensor& dhidden_TD);

 private:
  // This rank's rows of embedding and output layer.
  VocabularyShare vocabulary() const;
  torch::Tensor embed(const torch::Tensor& ids_T, const TokenShare& share) const;
  void add_embedding_gradients(const torch::Tensor& ids_T, const torch::Tensor& d_TD) const;
  size_t head_unit() const { return config_.tie_word_embeddings ? 0 : flat_->units().size() - 1; }

  LlamaConfig config_;
  Group* tp_ = nullptr;  // null: one rank
  torch::Tensor frequencies_P_;
  std::shared_ptr<Linear> embed_tokens_;  // [V, D], read by rows; tied, the output layer too
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<PlainRmsNorm> norm_;
  std::shared_ptr<Linear> lm_head_;
};

}  // namespace millrace::llama
