#include "adapters/kohya_metadata.h"

#include <array>
#include <ctime>

#include "base/error.h"
#include "base/log.h"
#include "base/python_float.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::array kMinimalFacts = {"v2",          "base_model_version", "network_module",
                                      "network_dim", "network_alpha",      "network_args"};

std::string local_time(double seconds) {
  const auto whole = static_cast<std::time_t>(seconds);
  std::tm parts = {};
  localtime_r(&whole, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return text;
}

}  // namespace

std::string python_str(const PythonValue& value) {
  struct Visitor {
    std::string operator()(std::monostate) const { return "None"; }
    std::string operator()(bool b) const { return b ? "True" : "False"; }
    std::string operator()(int64_t i) const { return std::to_string(i); }
    std::string operator()(double d) const { return python_float(d); }
    std::string operator()(const std::vector<double>& list) const {
      std::vector<std::string> texts;
      for (const double d : list) texts.push_back(python_float(d));
      return "[" + join(texts, ", ") + "]";
    }
    std::string operator()(const std::string& text) const { return text; }
  };
  return std::visit(Visitor{}, value);
}

const std::vector<std::string>& required_training_facts() {
  static const std::vector<std::string> names = {"session_id",
                                                 "training_started_at",
                                                 "training_finished_at",
                                                 "output_name",
                                                 "learning_rate",
                                                 "text_encoder_lr",
                                                 "unet_lr",
                                                 "num_train_images",
                                                 "num_validation_images",
                                                 "num_reg_images",
                                                 "num_batches_per_epoch",
                                                 "num_epochs",
                                                 "epoch",
                                                 "steps",
                                                 "gradient_checkpointing",
                                                 "gradient_accumulation_steps",
                                                 "max_train_steps",
                                                 "lr_warmup_steps",
                                                 "lr_scheduler",
                                                 "network_module",
                                                 "network_dim",
                                                 "network_alpha",
                                                 "network_dropout",
                                                 "mixed_precision",
                                                 "full_fp16",
                                                 "v2",
                                                 "base_model_version",
                                                 "clip_skip",
                                                 "max_token_length",
                                                 "cache_latents",
                                                 "seed",
                                                 "lowram",
                                                 "noise_offset",
                                                 "multires_noise_iterations",
                                                 "multires_noise_discount",
                                                 "adaptive_noise_scale",
                                                 "zero_terminal_snr",
                                                 "training_comment",
                                                 "sd_scripts_commit_hash",
                                                 "optimizer",
                                                 "max_grad_norm",
                                                 "caption_dropout_rate",
                                                 "caption_dropout_every_n_epochs",
                                                 "caption_tag_dropout_rate",
                                                 "face_crop_aug_range",
                                                 "prior_loss_weight",
                                                 "min_snr_gamma",
                                                 "scale_weight_norms",
                                                 "ip_noise_gamma",
                                                 "debiased_estimation",
                                                 "noise_offset_random_strength",
                                                 "ip_noise_gamma_random_strength",
                                                 "loss_type",
                                                 "huber_schedule",
                                                 "huber_scale",
                                                 "huber_c",
                                                 "fp8_base",
                                                 "fp8_base_unet",
                                                 "validation_seed",
                                                 "validation_split",
                                                 "max_validation_steps",
                                                 "validate_every_n_epochs",
                                                 "validate_every_n_steps",
                                                 "resize_interpolation",
                                                 "model_type",
                                                 "apply_t5_attn_mask",
                                                 "weighting_scheme",
                                                 "logit_mean",
                                                 "logit_std",
                                                 "mode_scale",
                                                 "guidance_scale",
                                                 "timestep_sampling",
                                                 "sigmoid_scale",
                                                 "model_prediction_type",
                                                 "discrete_flow_shift"};
  return names;
}

SafetensorsMetadata training_metadata(const TrainingFacts& facts, bool minimal) {
  for (const std::string& name : required_training_facts()) MILLRACE_CHECK(facts.count(name) == 1);
  SafetensorsMetadata metadata;
  const auto keep = [&](const std::string& name, const PythonValue& value) {
    metadata["ss_" + name] = python_str(value);
  };
  if (minimal) {
    for (const char* name : kMinimalFacts) {
      if (const auto found = facts.find(name); found != facts.end()) keep(name, found->second);
    }
  } else {
    for (const auto& [name, value] : facts) keep(name, value);
  }
  return metadata;
}

SafetensorsMetadata model_spec_metadata(const ModelSpec& spec) {
  SafetensorsMetadata metadata;
  const auto set = [&](const std::string& key, const std::string& value) { metadata["modelspec." + key] = value; };
  set("sai_model_spec", "1.0.1");
  set("architecture", spec.schnell ? "flux-1-schnell/lora" : "flux-1-dev/lora");
  set("implementation", "https://github.com/black-forest-labs/flux");
  set("title", spec.title.empty() ? "LoRA@" + python_float(spec.time) : spec.title);
  set("resolution", str(spec.width, "x", spec.height));
  set("date", local_time(spec.time));
  if (!spec.implementation_version.empty()) set("implementation_version", spec.implementation_version);
  if (spec.clip_skip) set("encoder_layer", std::to_string(*spec.clip_skip));
  if (spec.min_timestep || spec.max_timestep) {
    set("timestep_range", str(spec.min_timestep.value_or(0), ",", spec.max_timestep.value_or(1000)));
  }
  for (const auto& [key, value] : spec.more) {
    if (!value.empty()) set(key, value);
  }
  return metadata;
}

}  // namespace millrace
