// The FLUX.1 transformer for one device.
//
// The backward pass is written by hand: blocks keep or recompute exactly what activation_checkpoint.mode says, add
// weight gradients directly to the flat gradient buffer, and reuse their memory. No autograd graph is built.
//
// A model constructed without training is frozen: its backward pass computes gradients of inputs and of the layers'
// adapters (nn/linear_adapter.h), and spends neither time nor memory on gradients of its own weights.
//
// Letters: layers.h.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/flux/config.h"
#include "models/flux/double_block.h"
#include "models/flux/layers.h"
#include "models/flux/single_block.h"
#include "nn/joint_linear.h"
#include "parallel/flat_model.h"

namespace millrace::flux {

struct FluxInputs {
  torch::Tensor img_BIC;
  torch::Tensor img_ids_BIA;  // [B or 1, I, 3]
  torch::Tensor txt_BTX;
  torch::Tensor txt_ids_BTA;  // [B or 1, T, 3]
  torch::Tensor timesteps_B;  // 0 is data, 1 is noise
  torch::Tensor y_BV;
  torch::Tensor guidance_B;  // FLUX.1-dev only
  // How many of its T tokens each sample's text has; no token attends to the padding after them. Empty: padding is
  // attended to, as FLUX was trained.
  std::vector<int64_t> text_lengths;
};

// Gradients of the inputs, each like its input, fp32 for positions, timesteps and guidance.
struct FluxInputGradients {
  // Those that are wanted: of all inputs, of txt and y, or of y alone. The others stay undefined.
  enum class Of { kAll, kText, kPooled };
  Of of = Of::kAll;
  torch::Tensor img_BIC, img_ids_BIA, txt_BTX, txt_ids_BTA, timesteps_B, y_BV, guidance_B;
};

class Flux : public FlatModel {
 public:
  Flux(const FluxConfig& config, const FlatParametersOptions& options);

  const FluxConfig& config() const { return config_; }
  // Allocates the gradients of the weights; a model made for training already has them.
  void allocate_gradients() { flat_->allocate_gradients(); }

  // Initialises the weights like the reference (Xavier-uniform projections over the whole fused matrix, N(0, 0.02)
  // embedders, zero modulations and output), from Philox keyed by the tensor's name. The same seed gives the same
  // weights on every device and for every number of ranks.
  void initialize(uint64_t seed);

  // Everything the backward pass needs from one forward pass.
  struct Saved;

  // The velocity [B, I, C], in the compute dtype. With saved, keeps the tensors for backward, according to `keep`.
  torch::Tensor forward(const FluxInputs& inputs, Saved* saved = nullptr, Keep keep = Keep::kOutputs);
  // Adds to the gradients of trained parameters. Consumes saved. Fills input_gradients, if given.
  void backward(Saved& saved, const torch::Tensor& doutput_BIC, FluxInputGradients* input_gradients = nullptr);

 private:
  FluxConfig config_;
  Group* tp_ = nullptr;  // null: one rank
  std::shared_ptr<Linear> img_in_, txt_in_;
  std::shared_ptr<MlpEmbedder> time_in_, vector_in_, guidance_in_;
  std::vector<std::shared_ptr<DoubleBlock>> double_blocks_;
  std::vector<std::shared_ptr<SingleBlock>> single_blocks_;
  struct FinalLayer;
  std::shared_ptr<FinalLayer> final_layer_;

  // The modulations of consecutive blocks as one product: a unit of their weights, then of their biases. One rank has
  // one such unit; in sharded and offloaded models none is larger than a block, since units are gathered and fetched
  // whole.
  struct ModulationUnit {
    size_t unit = 0;    // in flat_
    int64_t begin = 0;  // its first column of modulation_BM
    JointLinear joint;
  };
  std::vector<ModulationUnit> modulations_;
  size_t first_block_unit_ = 0;  // double blocks, single blocks, then the final layer

  std::vector<UnitSpec> unit_specs(bool sharded, int64_t offload_blocks);
  void add_modulation_units(std::vector<UnitSpec>& specs, int64_t max_size);
  torch::Tensor embed_vector(const FluxInputs& inputs, Saved& saved, bool keep);
  torch::Tensor modulate(const torch::Tensor& activated_vec_BD, bool keep);
  // From dmodulation_BM to the gradients of the modulations' weights and, if wanted, of vec_BD.
  torch::Tensor backward_modulation(const Saved& saved, bool wants_dvec);
  // Part of the embedders' unit is trained, so that the backward pass has to reach it.
  bool embedders_train() const;
  void backward_embedders(const Saved& saved, const DoubleBlock::Streams& dstreams, const torch::Tensor& dvec_BD,
                          FluxInputGradients* input_gradients);
};

struct Flux::Saved {
  FluxInputs inputs;
  BlockContext context;
  MlpEmbedder::Saved time, vector, guidance;
  torch::Tensor vec_BD, activated_vec_BD;
  std::vector<DoubleBlock::Saved> double_blocks;
  std::vector<SingleBlock::Saved> single_blocks;
  OffloadedInputs* offloaded = nullptr;  // has the blocks' inputs; null: they are in both vectors
  torch::Tensor final_in_BID, final_mean_BI, final_rstd_BI, final_normed_BID;
};

}  // namespace millrace::flux
