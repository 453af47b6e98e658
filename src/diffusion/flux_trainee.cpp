#include "diffusion/flux_trainee.h"

#include "base/error.h"
#include "base/log.h"
#include "diffusion/flux_adapters.h"
#include "models/flux/weight_names.h"
#include "models/model_table.h"

namespace millrace {
namespace {

class WholeFlux : public FluxTrainee {
 public:
  WholeFlux(const flux::FluxConfig& sizes, const FlatParametersOptions& placement) : model_(sizes, placement) {}

  flux::Flux& model() override { return model_; }
  FlatParameters& parameters() override { return model_.flat_parameters(); }
  torch::Tensor forward(const flux::FluxInputs& inputs, flux::Flux::Saved* saved, Keep keep) override {
    return model_.forward(inputs, saved, keep);
  }
  void backward(flux::Flux::Saved& saved, const torch::Tensor& doutput_BIC) override {
    model_.backward(saved, doutput_BIC);
  }
  void initialize(uint64_t seed) override { model_.initialize(seed); }

 private:
  flux::Flux model_;
};

void load_initial_weights(flux::Flux& model, const std::string& path) {
  const ModelWeights weights(find_model("flux"), path);
  const TensorMap tensors = import_weights("FLUX", model.flat_parameters().shapes(), weights.store(),
                                           flux::weight_rules(model.config(), weights.naming()));
  model.flat_parameters().assign(tensors);
  log_info("weights: ", path, " (", naming_name(weights.naming()), " naming)");
}

}  // namespace

std::unique_ptr<FluxTrainee> make_empty_flux_trainee(const FluxRunConfig& config, const flux::FluxConfig& sizes,
                                                     const FlatParametersOptions& placement) {
  if (const LoraConfig* lora = config.lora()) return std::make_unique<FluxAdapters>(*lora, sizes, placement);
  return std::make_unique<WholeFlux>(sizes, placement);
}

std::unique_ptr<FluxTrainee> make_flux_trainee(const FluxRunConfig& config, const flux::FluxConfig& sizes,
                                               const FlatParametersOptions& placement, std::optional<uint64_t> seed) {
  const std::string& path = config.checkpoint.initial_load_path;
  if (config.lora() != nullptr && path.empty()) {
    throw ConfigError(
        "[checkpoint.initial_load_path] expected the weights that LoRA is trained on top of, got nothing");
  }
  std::unique_ptr<FluxTrainee> trainee = make_empty_flux_trainee(config, sizes, placement);
  if (!path.empty()) load_initial_weights(trainee->model(), path);
  const bool has_weights = !path.empty() && !trainee->is_adapter();
  if (seed && !has_weights) trainee->initialize(*seed);
  return trainee;
}

}  // namespace millrace
