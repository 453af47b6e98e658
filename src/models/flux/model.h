// The FLUX.1 transformer for one device.
//
// The backward pass is written out: blocks keep, or compute again, exactly what activation_checkpoint.mode says, add
// weight gradients straight into the flat gradient buffer, and reuse their memory. No autograd graph is built.
//
// Letters: B batch, I image tokens, T text tokens, L = T + I, C in_channels, X context_in_dim, V vec_in_dim, D
// hidden_size, M all modulation outputs.
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
};

// Gradients of the inputs, each like its input, fp32 for positions, timesteps and guidance.
struct FluxInputGradients {
  torch::Tensor img_BIC, img_ids_BIA, txt_BTX, txt_ids_BTA, timesteps_B, y_BV, guidance_B;
};

class Flux : public FlatModel {
 public:
  Flux(const FluxConfig& config, const FlatParametersOptions& options);

  const FluxConfig& config() const { return config_; }
  // backward() needs them; a model made for training has them already.
  void allocate_gradients() { flat_->allocate_gradients(); }

  // Weights as the reference initialises them (Xavier-uniform projections over the whole fused matrix, N(0, 0.02)
  // embedders, zero modulations and output), from Philox keyed by the tensor's name. On the same seed every device and
  // world size starts alike.
  void initialize(uint64_t seed);

  // Everything the backward pass needs of one forward pass.
  struct Saved;

  // The velocity [B, I, C], in the compute dtype. With saved, keeps what backward needs, as `keep` says.
  torch::Tensor forward(const FluxInputs& inputs, Saved* saved = nullptr, Keep keep = Keep::kOutputs);
  // Adds to the gradients of all parameters. Uses saved up. input_gradients, when given, are filled.
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

  // The modulations of consecutive blocks as one matrix: a unit of their weights, then of their biases. On one rank
  // there is one such unit; in sharded models none is larger than a block, as it is gathered whole.
  struct ModulationUnit {
    size_t unit = 0;    // in flat_
    int64_t begin = 0;  // its first column of modulation_BM
    int64_t num_outputs = 0;
  };
  struct ModulationMatrix {
    torch::Tensor weight_ND, bias_N;
  };
  std::vector<ModulationUnit> modulations_;
  size_t first_block_unit_ = 0;  // double blocks, single blocks, then the final layer

  std::vector<UnitSpec> unit_specs(bool sharded);
  void add_modulation_units(std::vector<UnitSpec>& specs, int64_t max_size);
  // Views of a modulation unit's buffer.
  ModulationMatrix modulation_matrix(const torch::Tensor& whole, const ModulationUnit& modulation) const;
  torch::Tensor embed_vector(const FluxInputs& inputs, Saved& saved, bool keep);
  torch::Tensor modulate(const torch::Tensor& activated_vec_BD, bool keep);
  // From dmodulation_BM to the gradient of vec_BD.
  torch::Tensor backward_modulation(const Saved& saved);
};

struct Flux::Saved {
  FluxInputs inputs;
  BlockContext context;
  MlpEmbedder::Saved time, vector, guidance;
  torch::Tensor vec_BD, activated_vec_BD;
  std::vector<DoubleBlock::Saved> double_blocks;
  std::vector<SingleBlock::Saved> single_blocks;
  torch::Tensor final_in_BID, final_mean_BI, final_rstd_BI, final_normed_BID;
};

}  // namespace millrace::flux
