// The options shared by every program around FLUX: its tasks, `sample`, `evaluate`, `prepare encode`.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "adapters/lora_options.h"
#include "config/run_config.h"
#include "config/task_kind.h"
#include "diffusion/options/captioned_pictures.h"
#include "diffusion/options/encoder.h"
#include "diffusion/options/flow_objective.h"
#include "diffusion/options/flux_adapters.h"
#include "diffusion/options/flux_model.h"
#include "diffusion/options/sample.h"

namespace millrace {

struct FluxRunConfig : RunConfig {
  FluxModelConfig model;
  EncoderConfig encoder;
  SampleConfig sample;
  TrainingPicturesConfig training_pictures;      // in [training]
  ValidationPicturesConfig validation_pictures;  // in [validation]

  std::unique_ptr<RunConfig> clone() const override { return std::make_unique<FluxRunConfig>(*this); }
  void describe(OptionCollector& visit) override;
  void check(Problems& problems) const override;
  // A data set must be named, and its path given unless the name implies one.
  void check_trainable(Problems& problems) const override;
  std::vector<ForeignOption> foreign_options() const override;
  // torchtitan's switches: eval.dataset enables validation, enable_classifier_free_guidance controls guidance_scale.
  void apply(const GivenOptions& given) override;

  // Whether the training data are pictures in folders, and validation takes the part of them that is held back.
  bool trains_on_pictures() const;
  bool validates_on_split() const;

  // Whether captions are encoded while the model trains, rather than beforehand or not at all.
  bool trains_on_captions() const;
  // Which text encoders have adapters as well.
  bool trains_clip_l() const;
  bool trains_t5xxl() const;

  // Where adapters are trained on a frozen model, how; null: the whole model is trained.
  virtual const LoraConfig* lora() const { return nullptr; }
  virtual const FluxAdapterOptions* flux_adapters() const { return nullptr; }  // the same
  // Uniform times, and the guidance of an undistilled model, unless the task has options for them.
  virtual FlowObjectiveConfig objective() const { return {}; }

  bool operator==(const FluxRunConfig&) const = default;
};

// Throws ConfigError for the configuration of a task other than FLUX's.
FluxRunConfig& as_flux(RunConfig& config);
const FluxRunConfig& as_flux(const RunConfig& config);

}  // namespace millrace
