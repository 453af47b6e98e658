// What a task of FLUX trains: the whole model, or adapters on a frozen one. Data, loss, validation and pictures do not
// know which.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "diffusion/flux_run_config.h"
#include "models/flux/model.h"
#include "parallel/flat_parameters.h"

namespace millrace {

class FluxTrainee {
 public:
  virtual ~FluxTrainee() = default;

  virtual flux::Flux& model() = 0;
  virtual FlatParameters& parameters() = 0;  // those that are trained
  virtual bool is_adapter() const { return false; }

  // As those of the model, which is to be used through them: what lies apart from it has memory only meanwhile.
  virtual torch::Tensor forward(const flux::FluxInputs& inputs, flux::Flux::Saved* saved = nullptr,
                                Keep keep = Keep::kOutputs) = 0;
  virtual void backward(flux::Flux::Saved& saved, const torch::Tensor& doutput_BIC) = 0;

  // Of adapters: how much they add from now on; 0 nothing, 1 what was trained. A whole model has none.
  virtual void set_strength(double /*strength*/) {}

  // Gives what is trained values that belong to the seed alone.
  virtual void initialize(uint64_t seed) = 0;
};

// As the configuration says: adapters where it has a section [lora]. A frozen model has the weights of
// checkpoint.initial_load_path; so has a trained one, where the path is set. seed: the rest is initialised with it;
// none: the rest is zero until a checkpoint is loaded. placement: of what is trained. Throws ConfigError where LoRA has
// no weights to start from, ModelError for files that are not the model's.
std::unique_ptr<FluxTrainee> make_flux_trainee(const FluxRunConfig& config, const flux::FluxConfig& sizes,
                                               const FlatParametersOptions& placement, std::optional<uint64_t> seed);

// The same without any weights: for plans, on the meta device.
std::unique_ptr<FluxTrainee> make_empty_flux_trainee(const FluxRunConfig& config, const flux::FluxConfig& sizes,
                                                     const FlatParametersOptions& placement);

}  // namespace millrace
