#include "diffusion/flux_trainee.h"

#include "base/error.h"
#include "base/log.h"
#include "config/optimizer_rules.h"
#include "diffusion/base_adapters.h"
#include "diffusion/caption_encoder.h"
#include "diffusion/flux_adapters.h"
#include "diffusion/flux_setup.h"
#include "models/flux/entry.h"
#include "models/lora_text_names.h"
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

// FLUX.1-dev and -schnell differ by this alone, and many files of either name do not say which they are.
void check_guidance(const ShapeMap& ours, const ShapeMap& theirs, const std::string& path) {
  constexpr const char* kLayer = "guidance_in.in_layer.weight";
  const bool wanted = ours.contains(kLayer), found = theirs.contains(kLayer);
  if (wanted == found) return;
  throw ModelError(str("[", path, "] expected weights ", wanted ? "with" : "without",
                       " guidance, as model.guidance_embed or model.flavor says, got those of a model ",
                       found ? "with it, as FLUX.1-dev is" : "without it, as FLUX.1-schnell is",
                       " (try model.guidance_embed=", found ? "true)" : "false)"));
}

// The weights that training starts from, or on top of. lora: what is merged into them and how they are stored; null:
// they are as in the file. has_encoders: what is for text encoders has been merged into these.
void load_initial_weights(flux::Flux& model, const std::string& path, const FlatParametersOptions& placement,
                          const LoraConfig* lora, bool has_encoders) {
  const ModelWeights weights(find_model("flux"), path);
  const std::unique_ptr<ModelDescription> ours = flux::describe(model.config());
  check_guidance(ours->shapes(), weights.model().shapes(), path);
  check_weights("FLUX", ours->shapes(), weights.store(), ours->weight_rules(weights.naming(), {}));
  BaseAdapters base;
  FlatParametersOptions stored = placement;
  if (lora != nullptr) {
    stored.base_storage = base_storage_of(*lora);
    base = read_base_adapters(*lora, model.config());
    const std::vector<double> multipliers = base_multipliers(*lora);
    for (size_t i = 0; i < multipliers.size(); ++i) {
      log_info("merged into the weights: ", multipliers[i], " times ", lora->base_weights[i]);
    }
    if (!has_encoders && !(base.clip.is_empty() && base.t5.is_empty())) {
      log_info("lora.base_weights: leaves out adapters of text encoders, which are not loaded");
    }
  }
  weights.load_into(model, stored, merging(base.transformer));
  log_info("weights: ", path, " (", naming_name(weights.naming()), " naming)");
}

}  // namespace

torch::Tensor FluxTrainee::frozen_forward(const flux::FluxInputs& /*inputs*/, const std::vector<int64_t>& /*rows*/) {
  MILLRACE_CHECK(is_adapter());
  return {};
}

std::vector<TrainedEncoder> trained_encoders(const FluxRunConfig& config, TrainableEncoder* clip,
                                             TrainableEncoder* t5) {
  const FluxAdapterOptions* options = config.flux_adapters();
  std::vector<TrainedEncoder> trained;
  if (options == nullptr) return trained;
  const double lr = with_rule_defaults(config.optimizer).lr.value_or(1);
  const auto add = [&](TrainableEncoder* encoder, const char* prefix, bool is_pooled, std::optional<double> own_lr) {
    if (encoder == nullptr) return;
    trained.push_back({prefix, encoder, is_pooled, own_lr ? *own_lr / lr : 1, options->text_encoder_loraplus_ratio});
  };
  add(clip, flux::kClipAdapters, /*is_pooled=*/true, options->text_encoder_lr);
  add(t5, flux::kT5Adapters, /*is_pooled=*/false, options->t5xxl_lr ? options->t5xxl_lr : options->text_encoder_lr);
  return trained;
}

std::vector<TrainedEncoder> trained_encoders(const FluxRunConfig& config, CaptionEncoders* encoders) {
  const auto find = [&](bool is_trained, std::unique_ptr<CaptionEncoder> CaptionEncoders::*which, const char* option) {
    if (!is_trained) return static_cast<TrainableEncoder*>(nullptr);
    CaptionEncoder* encoder = encoders != nullptr ? (encoders->*which).get() : nullptr;
    if (encoder == nullptr || encoder->trainable() == nullptr) {
      throw ConfigError(str("[", option,
                            "] expected captions and an encoder with weights, as the adapters of this "
                            "run were trained with, got neither"));
    }
    return encoder->trainable();
  };
  return trained_encoders(config, find(config.trains_clip_l(), &CaptionEncoders::pooled, "encoder.clip_encoder"),
                          find(config.trains_t5xxl(), &CaptionEncoders::tokens, "encoder.t5_encoder"));
}

std::unique_ptr<FluxTrainee> make_empty_flux_trainee(const FluxRunConfig& config, const flux::FluxConfig& sizes,
                                                     const FlatParametersOptions& placement,
                                                     std::vector<TrainedEncoder> encoders) {
  const LoraConfig* lora = config.lora();
  if (lora == nullptr) return std::make_unique<WholeFlux>(sizes, placement);
  return std::make_unique<FluxAdapters>(*lora, sizes, placement, *config.flux_adapters(), std::move(encoders));
}

std::unique_ptr<FluxTrainee> make_flux_trainee(const FluxRunConfig& config, const flux::FluxConfig& sizes,
                                               const FlatParametersOptions& placement, std::optional<uint64_t> seed,
                                               CaptionEncoders* encoders) {
  const std::string& path = config.checkpoint.initial_load_path;
  if (config.lora() != nullptr && path.empty()) {
    throw ConfigError(
        "[checkpoint.initial_load_path] expected the weights that LoRA is trained on top of, got nothing");
  }
  std::unique_ptr<FluxTrainee> trainee =
      make_empty_flux_trainee(config, sizes, placement, trained_encoders(config, encoders));
  if (!path.empty()) load_initial_weights(trainee->model(), path, placement, config.lora(), encoders != nullptr);
  const bool has_weights = !path.empty() && !trainee->is_adapter();
  if (seed && !has_weights) trainee->initialize(*seed);
  if (seed && config.lora() != nullptr && !config.lora()->initial_adapter.empty()) {
    trainee->start_from(config.lora()->initial_adapter);
  }
  return trainee;
}

}  // namespace millrace
