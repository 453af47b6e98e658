// What a task of FLUX trains: the whole model, or adapters on a frozen one. Data, loss, validation and pictures do not
// know which.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "adapters/max_norm.h"
#include "diffusion/flux_batch.h"
#include "diffusion/flux_run_config.h"
#include "diffusion/trainable_encoder.h"
#include "models/flux/model.h"
#include "optim/rate_group.h"
#include "parallel/flat_parameters.h"

namespace millrace {

struct CaptionEncoders;

class FluxTrainee {
 public:
  virtual ~FluxTrainee() = default;

  virtual flux::Flux& model() = 0;
  virtual FlatParameters& parameters() = 0;  // those that are trained
  virtual bool is_adapter() const { return false; }

  // As those of the model, which is to be used through them: what lies apart from it has memory only meanwhile.
  // Encodings that inputs lack are made from the captions of the training pass, and trained.
  virtual torch::Tensor forward(const flux::FluxInputs& inputs, flux::Flux::Saved* saved = nullptr,
                                Keep keep = Keep::kOutputs) = 0;
  virtual void backward(flux::Flux::Saved& saved, const torch::Tensor& doutput_BIC) = 0;
  // Of adapters: the frozen model's own output for these rows of the inputs, whose texts the encoders encode as they
  // are trained. In a training pass, before its forward(). A whole model has none.
  virtual torch::Tensor frozen_forward(const flux::FluxInputs& inputs, const std::vector<int64_t>& rows);

  // Parameters with learning rates of their own, in the order of their layout; empty: all have the optimizer's.
  virtual std::vector<RateGroup> rate_groups() const { return {}; }
  // Whether random numbers belong to places in the sequence, which therefore have to stay where they are.
  virtual bool draws_by_place() const { return false; }
  // After each update; collective.
  virtual void weights_changed() {}
  // Of adapters: as AdapterSet::limited_norms().
  virtual std::optional<MaxNormResult> limited_norms() const { return std::nullopt; }
  // Of adapters: as AdapterSet::mean_gradient_norm().
  virtual std::optional<double> mean_gradient_norm(const torch::Tensor& /*grad*/) { return std::nullopt; }
  // From here to end_training_pass() what is trained has the dropout of these samples, in forward and backward passes,
  // and text encoders that are trained have their captions. batch must live as long.
  virtual void start_training_pass(uint64_t /*seed*/, const FluxBatch& /*batch*/) {}
  virtual void end_training_pass() {}

  // Of adapters: how much they add from now on; 0 nothing, 1 what was trained. A whole model has none.
  virtual void set_strength(double /*strength*/) {}

  // Gives what is trained values that belong to the seed alone.
  virtual void initialize(uint64_t seed) = 0;
  // Of adapters: takes the values of a file, in the naming and order of any program. Layers that are not in it keep
  // theirs. Throws ModelError for adapters of another kind, rank or model.
  virtual void start_from(const std::filesystem::path& /*file*/) {}
};

// As the configuration says: adapters where it has a section [lora]. A frozen model has the weights of
// checkpoint.initial_load_path; so has a trained one, where the path is set. seed: the rest is initialised with it;
// none: the rest is zero until a checkpoint is loaded. placement: of what is trained. Throws ConfigError where LoRA has
// no weights to start from, ModelError for files that are not the model's.
//
// encoders: those that are trained get their adapters and must live as long; null: not loaded, which is a ConfigError
// where one is trained.
std::unique_ptr<FluxTrainee> make_flux_trainee(const FluxRunConfig& config, const flux::FluxConfig& sizes,
                                               const FlatParametersOptions& placement, std::optional<uint64_t> seed,
                                               CaptionEncoders* encoders);

// The same without any weights: for plans, on the meta device.
std::unique_ptr<FluxTrainee> make_empty_flux_trainee(const FluxRunConfig& config, const flux::FluxConfig& sizes,
                                                     const FlatParametersOptions& placement,
                                                     std::vector<TrainedEncoder> encoders = {});

// Those of FLUX's encoders that the configuration trains. Throws ConfigError for one that is not loaded.
std::vector<TrainedEncoder> trained_encoders(const FluxRunConfig& config, CaptionEncoders* encoders);
// The same of encoders at hand; null: not trained.
std::vector<TrainedEncoder> trained_encoders(const FluxRunConfig& config, TrainableEncoder* clip, TrainableEncoder* t5);

}  // namespace millrace
