// Adapters on a frozen FLUX: the small matrices are FlatParameters of their own, the model's weights are not trained.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "diffusion/flux_trainee.h"
#include "models/adapter_set.h"

namespace millrace {

// The linear layers of the model that lora.targets chooses, in the model's order. "all": every one of the blocks, 304
// of FLUX.1; "attention": those that attention is computed with: qkv and proj of double blocks, linear1 and linear2 of
// single blocks, which contain their MLP as well.
std::vector<std::string> adapted_layers(const flux::Flux& model, const std::vector<std::string>& targets);

class FluxAdapters : public FluxTrainee {
 public:
  // placement: of the adapters; the model is placed the same way, but frozen. encoders: get adapters on all their
  // linear layers, and must live as long. Throws ConfigError for targets that match no layer, and on a tensor-parallel
  // mesh.
  FluxAdapters(const LoraConfig& config, const flux::FluxConfig& sizes, const FlatParametersOptions& placement,
               const FluxAdapterOptions& options = {}, std::vector<TrainedEncoder> encoders = {});

  flux::Flux& model() override { return model_; }
  FlatParameters& parameters() override { return adapters_.parameters(); }
  bool is_adapter() const override { return true; }
  torch::Tensor forward(const flux::FluxInputs& inputs, flux::Flux::Saved* saved = nullptr,
                        Keep keep = Keep::kOutputs) override;
  void backward(flux::Flux::Saved& saved, const torch::Tensor& doutput_BIC) override;
  torch::Tensor frozen_forward(const flux::FluxInputs& inputs, const std::vector<int64_t>& rows) override;
  std::vector<RateGroup> rate_groups() const override { return adapters_.rate_groups(); }
  bool draws_by_place() const override { return config_.dropout > 0; }
  void weights_changed() override { adapters_.weights_changed(); }
  std::optional<MaxNormResult> limited_norms() const override { return adapters_.limited_norms(); }
  std::optional<double> mean_gradient_norm(const torch::Tensor& grad) override {
    return adapters_.mean_gradient_norm(grad);
  }
  void start_training_pass(uint64_t seed, const FluxBatch& batch) override;
  void end_training_pass() override;
  void initialize(uint64_t seed) override;
  // Parts of a fused layer are put together, or taken apart where they are trained apart. Adapters of text encoders
  // that are not trained are left out with a note; without lora.initial_adapter_strict those of all other layers that
  // are not trained with a warning.
  void start_from(const std::filesystem::path& file) override;
  void set_strength(double strength) override { adapters_.set_strength(strength); }

 private:
  bool trains(const TrainedEncoder& encoder, const flux::FluxInputs& inputs) const;
  bool has_layer(const std::string& name) const;  // whole or in parts
  // Whether it made its encoding, which the inputs lack.
  bool encode(const TrainedEncoder& trained, flux::FluxInputs& inputs);

  LoraConfig config_;
  FluxAdapterOptions options_;
  flux::Flux model_;
  std::vector<TrainedEncoder> encoders_;
  AdapterSet adapters_;
  const std::vector<std::string>* captions_ = nullptr;  // of the training pass
  std::vector<const TrainedEncoder*> in_pass_;          // whose encodings the forward pass has made
};

}  // namespace millrace
