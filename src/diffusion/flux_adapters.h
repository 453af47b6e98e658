// Adapters on a frozen FLUX: the small matrices are FlatParameters of their own, the model's weights are not trained.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "adapters/configured_adapter.h"
#include "adapters/lora_options.h"
#include "diffusion/flux_trainee.h"

namespace millrace {

// The linear layers of the model that lora.targets chooses, in the model's order. "all": every one of the blocks, 304
// of FLUX.1; "attention": those that attention is computed with: qkv and proj of double blocks, linear1 and linear2 of
// single blocks, which contain their MLP as well.
std::vector<std::string> adapted_layers(const flux::Flux& model, const std::vector<std::string>& targets);

// The matrices of an adapted layer are named <layer>.<role>: <layer>.down [R, K] and <layer>.up [N, R] of LoRA; see
// adapters/adapter_kind.h for the others. Those of one learning rate follow each other.
//
// On several ranks the model is sharded like any other, unit by unit; the adapters are one unit of their own, which is
// gathered for a whole pass and reduced once at its end: at rank 16 they have 1/150 of FLUX.1's parameters.
class FluxAdapters : public FluxTrainee {
 public:
  // placement: of the adapters; the model is placed the same way, but frozen. Throws ConfigError for targets that match
  // no layer, and on a tensor-parallel mesh.
  FluxAdapters(const LoraConfig& config, const flux::FluxConfig& sizes, const FlatParametersOptions& placement);

  flux::Flux& model() override { return model_; }
  FlatParameters& parameters() override { return *parameters_; }
  bool is_adapter() const override { return true; }
  torch::Tensor forward(const flux::FluxInputs& inputs, flux::Flux::Saved* saved = nullptr,
                        Keep keep = Keep::kOutputs) override;
  void backward(flux::Flux::Saved& saved, const torch::Tensor& doutput_BIC) override;
  std::vector<RateGroup> rate_groups() const override { return rate_groups_; }
  // Limits the norms of what the adapters add, where lora.scale_weight_norms says so.
  void weights_changed() override;
  void start_training_pass(const DropoutSamples& samples) override;
  void end_training_pass() override;
  void initialize(uint64_t seed) override;
  void start_from(const std::filesystem::path& file) override;
  void set_strength(double strength) override;

 private:
  struct Adapted {
    std::string layer;
    const Linear* linear;
    std::shared_ptr<ModuleAdapter> adapter;
  };

  void attach();
  void place(const FlatParametersOptions& placement);
  std::vector<AdaptedLayer> loras() const;
  void initialize_magnitudes();

  LoraConfig config_;
  flux::Flux model_;
  std::vector<Adapted> adapted_;
  std::vector<RateGroup> rate_groups_;
  std::unique_ptr<FlatParameters> parameters_;
};

}  // namespace millrace
