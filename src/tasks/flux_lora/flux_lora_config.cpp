#include "tasks/flux_lora/flux_lora_config.h"

#include <array>

#include "adapters/lora_rates.h"
#include "base/log.h"
#include "base/text.h"
#include "config/foreign_options.h"
#include "models/flux/config.h"

namespace millrace {
namespace {

// An encoder can be trained where it has weights, and captions to encode.
void check_trained_encoder(const FluxRunConfig& config, const char* option, const char* key, const std::string& path,
                           Problems& problems) {
  if (path.empty() || path == kRandomNetwork) {
    problems.add(str("encoder.", key), str("expected the path of an encoder, on which ", option,
                                           " trains adapters, got ", path.empty() ? "nothing" : "\"random\""));
  }
  if (!config.trains_on_captions()) {
    problems.add(option, str("expected training.dataset to have captions, which a trained encoder encodes at every "
                             "step, got \"",
                             config.training_pictures.dataset, "\""));
  }
}

void check_text_encoders(const FluxLoraConfig& config, Problems& problems) {
  const FluxAdapterOptions& options = config.flux_options;
  const bool clip = config.trains_clip_l(), t5 = config.trains_t5xxl();
  if (clip) check_trained_encoder(config, "lora.train_clip_l", "clip_encoder", config.encoder.clip_encoder, problems);
  if (t5) check_trained_encoder(config, "lora.train_t5xxl", "t5_encoder", config.encoder.t5_encoder, problems);
  const auto expect = [&](bool trained, bool is_given, const char* option, const char* switches) {
    if (is_given && !trained) problems.add(option, str("expected ", switches, " with it, got neither"));
  };
  expect(clip || t5, options.text_encoder_lr.has_value(), "lora.text_encoder_lr", "train_clip_l or train_t5xxl");
  expect(clip || t5, options.text_encoder_loraplus_ratio.has_value(), "lora.text_encoder_loraplus_ratio",
         "train_clip_l or train_t5xxl");
  if (options.t5xxl_lr && !t5) problems.add("lora.t5xxl_lr", "expected train_t5xxl with it, got none");
  if ((clip || t5) && config.encoder.device == EncoderDevice::kCpu) {
    problems.add("encoder.device",
                 "expected auto where an encoder is trained, got cpu (try lora.train_clip_l = false)");
  }
  const EncodingCache cache = config.encoder.cache_encodings;
  if (clip && t5 && cache != EncodingCache::kAuto && cache != EncodingCache::kNone) {
    problems.add("encoder.cache_encodings",
                 str("expected auto or none where both encoders are trained, got ", choice_text(cache)));
  }
  const AdapterKind kind = config.lora_options.kind;
  if (options.text_encoder_loraplus_ratio && kind != AdapterKind::kLora && kind != AdapterKind::kDora) {
    problems.add("lora.text_encoder_loraplus_ratio",
                 str("expected kind lora or dora with it, got kind = \"", choice_text(kind), "\""));
  }
  if (config.optimizer.lr == 0.0 && (options.text_encoder_lr.value_or(0) > 0 || options.t5xxl_lr.value_or(0) > 0)) {
    problems.add("optimizer.lr", "expected a rate above 0 with text_encoder_lr, which is a part of it, got 0");
  }
}

void check_initial_adapter(const FluxLoraConfig& config, Problems& problems) {
  const LoraConfig& lora = config.lora_options;
  const FluxAdapterOptions& options = config.flux_options;
  if (lora.initial_adapter.empty() && (options.ranks_from_initial_adapter || !options.initial_adapter_strict)) {
    problems.add("lora.initial_adapter", str("expected a file with ",
                                             options.ranks_from_initial_adapter ? "ranks_from_initial_adapter"
                                                                                : "initial_adapter_strict = false",
                                             ", got none"));
  }
  if (!options.ranks_from_initial_adapter) return;
  const auto expect_none = [&](bool is_given, const char* name) {
    if (is_given) {
      problems.add(str("lora.", name), "expected none with ranks_from_initial_adapter, whose file says it, got some");
    }
  };
  const LoraConfig usual;
  expect_none(lora.targets != usual.targets, "targets");
  expect_none(!lora.rank_patterns.empty(), "rank_patterns");
  expect_none(!lora.alpha_patterns.empty(), "alpha_patterns");
  expect_none(lora.lokr_factor.has_value(), "lokr_factor");
  expect_none(lora.lokr_decompose_both, "lokr_decompose_both");
  if (options.split_qkv) {
    problems.add("lora.split_qkv",
                 "expected false with ranks_from_initial_adapter, which trains fused layers as the file has them, "
                 "got true");
  }
}

void check_split_qkv(const FluxLoraConfig& config, Problems& problems) {
  const FluxAdapterOptions& options = config.flux_options;
  if (options.split_qkv && config.lora_options.kind != AdapterKind::kLora) {
    problems.add("lora.split_qkv",
                 str("expected kind lora with it, got kind = \"", choice_text(config.lora_options.kind), "\""));
  }
  if (options.split_qkv && !config.lora_options.alpha_patterns.empty()) {
    problems.add("lora.alpha_patterns", "expected none with split_qkv, whose parts all have lora.alpha, got some");
  }
  if (!options.split_qkv && options.split_qkv_alpha != SplitAlpha::kExact) {
    problems.add("lora.split_qkv_alpha", "expected split_qkv with it, got none");
  }
}

// The model reads it or nothing does.
void check_guidance(const FluxLoraConfig& config, Problems& problems) {
  const FluxModelConfig& model = config.model;
  const bool reads_guidance = model.guidance_embed.value_or(flux::flavor(model.flavor).guidance_embed);
  const std::optional<double>& scale = config.flow_objective.guidance_scale;
  if (reads_guidance || !scale) return;
  problems.add(
      "objective.guidance_scale",
      str("expected None for a model that takes no guidance (model.guidance_embed is false, as of FLUX.1-schnell), "
          "got ",
          *scale, " (try model.guidance_embed = true where the base is FLUX.1-dev)"));
}

void check_kohya_files(const FluxLoraConfig& config, Problems& problems) {
  const FluxAdapterOptions& options = config.flux_options;
  const auto expect = [&](bool is_set, const std::string& name, bool has_other, const char* other) {
    if (is_set && !has_other) problems.add("lora." + name, str("expected ", other, " with it, got none"));
  };
  expect(!options.kohya_name.empty(), "kohya_name", options.kohya_files, "kohya_files");
  expect(options.kohya_every_steps > 0, "kohya_every_steps", options.kohya_files, "kohya_files");
  expect(options.kohya_every_epochs > 0, "kohya_every_epochs", options.kohya_files, "kohya_files");
  expect(options.kohya_last_steps > 0, "kohya_last_steps", options.kohya_every_steps > 0, "kohya_every_steps");
  expect(options.kohya_last_epochs > 0, "kohya_last_epochs", options.kohya_every_epochs > 0, "kohya_every_epochs");
  if (options.kohya_name == "lora") {
    problems.add("lora.kohya_name", "expected another name than \"lora\", whose file every checkpoint writes");
  }
  if (options.kohya_name.find('/') != std::string::npos) {
    problems.add("lora.kohya_name", "expected a name without a folder, got \"" + options.kohya_name +
                                        "\" (the files are in job.dump_folder)");
  }
  if (options.kohya_every_epochs > 0 && !config.trains_on_pictures()) {
    problems.add("lora.kohya_every_epochs",
                 str("expected training.dataset = \"pictures\", of which epochs are known, got \"",
                     config.training_pictures.dataset, "\" (try lora.kohya_every_steps)"));
  }
}

constexpr auto kAny = ForeignOption::Type::kAny;
constexpr auto kRefuse = ForeignOption::Answer::kRefuse;
constexpr const char* kNoise = "sd-scripts, too, draws plain normal noise for FLUX, whatever this says";
constexpr const char* kWeights = "sd-scripts, too, does not weigh FLUX's loss by it";
constexpr const char* kTimes = "sd-scripts, too, does not read it when it draws times for FLUX";
constexpr std::array kWithoutEffect = std::to_array<ForeignOption>({
    {"objective.noise_offset", kAny, "None", kRefuse, kNoise},
    {"objective.noise_offset_random_strength", kAny, "None", kRefuse, kNoise},
    {"objective.adaptive_noise_scale", kAny, "None", kRefuse, kNoise},
    {"objective.multires_noise_iterations", kAny, "None", kRefuse, kNoise},
    {"objective.multires_noise_discount", kAny, "None", kRefuse, kNoise},
    {"objective.min_snr_gamma", kAny, "None", kRefuse, kWeights},
    {"objective.debiased_estimation_loss", kAny, "None", kRefuse, kWeights},
    {"objective.scale_v_pred_loss_like_noise_pred", kAny, "None", kRefuse, kWeights},
    {"objective.v_pred_like_loss", kAny, "None", kRefuse, kWeights},
    {"objective.zero_terminal_snr", kAny, "None", kRefuse, kTimes},
    {"objective.min_timestep", kAny, "None", kRefuse, kTimes},
    {"objective.max_timestep", kAny, "None", kRefuse, kTimes},
});

}  // namespace

std::vector<ForeignOption> FluxLoraConfig::foreign_options() const {
  std::vector<ForeignOption> options = FluxRunConfig::foreign_options();
  options.insert(options.end(), kWithoutEffect.begin(), kWithoutEffect.end());
  return options;
}

void FluxLoraConfig::check(Problems& problems) const {
  FluxRunConfig::check(problems);
  check_flow_objective(flow_objective, problems);
  check_lora(lora_options, problems);
  check_text_encoders(*this, problems);
  check_initial_adapter(*this, problems);
  check_split_qkv(*this, problems);
  check_guidance(*this, problems);
  check_kohya_files(*this, problems);
  check_lora_rates(lora_options, optimizer, problems);
  // The limit would act on the weights that are trained, not on those that are averaged.
  if (lora_options.scale_weight_norms &&
      (optimizer.ema_decay.value_or(0) > 0 || optimizer.name == "AdamWScheduleFree")) {
    problems.add("lora.scale_weight_norms", "expected an optimizer without averaged weights with it, got " +
                                                (optimizer.ema_decay ? "optimizer.ema_decay" : optimizer.name));
  }
  if (parallelism.tensor_parallel_degree > 1) {
    problems.add("parallelism.tensor_parallel_degree",
                 str("expected 1 with LoRA, got ", parallelism.tensor_parallel_degree,
                     " (data_parallel_shard_degree shards the frozen weights)"));
  }
}

void FluxLoraConfig::check_trainable(Problems& problems) const {
  FluxRunConfig::check_trainable(problems);
  if (checkpoint.initial_load_path.empty()) {
    problems.add("checkpoint.initial_load_path",
                 "expected the weights of FLUX that the adapters are trained on, got nothing");
  }
}

}  // namespace millrace
