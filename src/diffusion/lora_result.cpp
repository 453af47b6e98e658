#include "diffusion/lora_result.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "adapters/kohya_hashes.h"
#include "adapters/kohya_optimizer.h"
#include "adapters/lora_metadata_keys.h"
#include "adapters/merge_adapter.h"
#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "diffusion/lora_readers.h"
#include "formats/python_json.h"
#include "models/flux/lora_convert.h"
#include "models/flux/lora_export.h"
#include "models/flux/lora_parts.h"
#include "models/flux/lora_split.h"
#include "models/lora_text_names.h"

namespace millrace {
namespace {

// Half the distance between two neighbours of a dtype, relative to them.
double rounding_of(torch::ScalarType dtype) {
  if (dtype == torch::kBFloat16) return 1.0 / 256;
  return dtype == torch::kHalf ? 1.0 / 2048 : 1e-7;
}

torch::ScalarType save_dtype_of(const LoraConfig& lora, torch::ScalarType computed) {
  if (lora.save_dtype == "fp32") return torch::kFloat32;
  if (lora.save_dtype == "bf16") return torch::kBFloat16;
  if (lora.save_dtype == "fp16") return torch::kHalf;
  return computed;
}

// What an adapter adds to some input of its layer. Of a LoRA it never takes the large matrix; the length of a DoRA's
// rows is compared by itself.
// The same numbers of both signs for every adapter of so many inputs.
torch::Tensor inputs_of(const AdapterTensors& adapter) {
  return at::cos(at::arange(sizes_of(adapter).in_features, torch::kFloat64) * 1.7).to(torch::kFloat32);
}

torch::Tensor effect(const AdapterTensors& adapter) {
  const auto part = [&](const char* role) {
    return in_model_order(adapter.tensors.at(role)).to(torch::kCPU, torch::kFloat32);
  };
  const torch::Tensor x = inputs_of(adapter);
  if (!adapter.tensors.contains("up")) return at::mv(weight_change(adapter).cpu(), x);
  const torch::Tensor product = at::mv(part("up"), at::mv(part("down"), x)).mul_(adapter.scale);
  if (!adapter.tensors.contains("magnitude")) return product;
  return at::cat({product, part("magnitude").reshape({-1})});
}

// How far effect() may be off where each matrix and alpha was rounded: the effect is a product of them, and the norm of
// a product is at most the product of the norms, whatever cancels in the sums.
double allowed_error(const AdapterTensors& adapter, double rounding) {
  double product = std::abs(adapter.scale) * inputs_of(adapter).norm().item<double>(), added = 0;
  for (const auto& [role, tensor] : adapter.tensors) {
    const double norm = tensor.values.norm().item<double>();
    if (role == "magnitude") {
      added = norm;
    } else {
      product *= norm;
    }
  }
  return rounding * (static_cast<double>(adapter.tensors.size() + 1) * product + added);
}

// The layer of a text encoder as a run names it, whichever program named the adapter.
std::string text_layer_name(const AdapterTensors& adapter) {
  const auto layer = flux::parse_text_encoder_layer(adapter.module);
  return layer ? flux::run_name(*layer) : adapter.module;
}

// The numbers that a user gives for the file, whatever the ranks of its layers.
bool gives_rank(const LoraConfig& lora) {
  return std::any_of(lora.metadata.begin(), lora.metadata.end(), [](const std::string& text) {
    return starts_with(text, "ss_network_dim=") || starts_with(text, "ss_network_alpha=");
  });
}

void add_network(TrainingFacts& facts, const FluxRunConfig& config) {
  const LoraConfig& lora = *config.lora();
  const FluxAdapterOptions& options = *config.flux_adapters();
  nlohmann::ordered_json arguments = nlohmann::ordered_json::object();
  const auto argument = [&](const char* name, double value) {
    if (value != 0) arguments[name] = python_str(value);
  };
  argument("rank_dropout", lora.rank_dropout);
  argument("module_dropout", lora.module_dropout);
  argument("loraplus_lr_ratio", lora.loraplus_ratio.value_or(0));
  argument("loraplus_text_encoder_lr_ratio", options.text_encoder_loraplus_ratio.value_or(0));
  if (options.split_qkv) arguments["split_qkv"] = "True";
  if (config.trains_t5xxl()) arguments["train_t5xxl"] = "True";
  if (options.text_encoder_lr) {
    std::vector<double> rates = {*options.text_encoder_lr};
    if (options.t5xxl_lr) rates.push_back(*options.t5xxl_lr);
    facts["text_encoder_lr"] = rates;
  }
  const bool is_lora = lora.kind == AdapterKind::kLora;
  if (!is_lora) {
    arguments["algo"] = lora.kind == AdapterKind::kDora ? "lora" : choice_text(lora.kind);
    if (lora.kind == AdapterKind::kDora) arguments["dora_wd"] = "True";
    if (lora.lokr_factor) arguments["factor"] = std::to_string(*lora.lokr_factor);
    if (lora.lokr_decompose_both) arguments["decompose_both"] = "True";
  }
  facts["network_module"] = is_lora ? "networks.lora_flux" : "lycoris.kohya";
  if (!arguments.empty()) {  // sd-scripts adds its option of that name
    arguments["dropout"] = lora.dropout > 0 ? nlohmann::ordered_json(lora.dropout) : nlohmann::ordered_json();
    facts["network_args"] = python_json(arguments);
  }
  facts["network_dropout"] = lora.dropout > 0 ? PythonValue(lora.dropout) : PythonValue();
  facts["scale_weight_norms"] = lora.scale_weight_norms ? PythonValue(*lora.scale_weight_norms) : PythonValue();
  facts["training_comment"] = lora.training_comment.empty() ? PythonValue() : PythonValue(lora.training_comment);
  facts["fp8_base"] = lora.base_dtype == "fp8" || lora.base_dtype == "fp8_unscaled";
  facts["fp8_base_unet"] = false;
}

void add_objective(TrainingFacts& facts, const FlowObjectiveConfig& objective) {
  const bool draws_or_weighs = objective.weighting_scheme != WeightingScheme::kNone;
  facts["weighting_scheme"] = draws_or_weighs ? choice_text(objective.weighting_scheme) : "uniform";
  facts["logit_mean"] = objective.logit_mean.value_or(0);
  facts["logit_std"] = objective.logit_std.value_or(1);
  facts["mode_scale"] = objective.mode_scale.value_or(1.29);
  facts["guidance_scale"] = objective.guidance_scale.value_or(1);
  facts["timestep_sampling"] = choice_text(objective.timestep_sampling);
  facts["sigmoid_scale"] = objective.sigmoid_scale.value_or(1);
  facts["model_prediction_type"] = choice_text(objective.model_prediction_type);
  facts["discrete_flow_shift"] = objective.discrete_flow_shift.value_or(3);
  facts["loss_type"] = choice_text(objective.loss_type);
  // Other losses read none, and sd-scripts writes its default.
  const bool turns = objective.loss_type == LossType::kHuber || objective.loss_type == LossType::kSmoothL1;
  facts["huber_schedule"] = turns ? choice_text(objective.huber_schedule) : "snr";
  facts["huber_c"] = objective.huber_c.value_or(0.1);
  facts["huber_scale"] = objective.huber_scale.value_or(1);
  facts["ip_noise_gamma"] = objective.ip_noise_gamma ? PythonValue(*objective.ip_noise_gamma) : PythonValue();
  facts["ip_noise_gamma_random_strength"] = objective.ip_noise_gamma_random_strength;
}

void add_steps(TrainingFacts& facts, const FluxRunConfig& config) {
  facts["learning_rate"] = config.optimizer.lr.value_or(1);
  facts["optimizer"] = kohya_optimizer_text(config.optimizer);
  facts["max_grad_norm"] = config.training.max_norm < kUnlimitedNorm ? config.training.max_norm : 0;
  facts["lr_scheduler"] = config.lr_scheduler.name;
  constexpr int64_t kTorchtitanWarmup = 200;
  const StepsOrPart unset{.steps = config.lr_scheduler.name == "torchtitan" ? kTorchtitanWarmup : 0};
  const StepsOrPart warmup = config.lr_scheduler.warmup_steps.value_or(unset);
  facts["lr_warmup_steps"] = warmup.is_part() ? PythonValue(warmup.part) : PythonValue(warmup.steps);
  facts["max_train_steps"] = config.training.steps;
}

void add_base_model(TrainingFacts& facts, const std::filesystem::path& base) {
  facts["base_model_version"] = "flux1";
  facts["model_type"] = "flux";
  facts["v2"] = false;
  if (base.empty()) return;
  facts["sd_model_name"] = base.filename().string();
  if (!std::filesystem::is_regular_file(base)) return;
  facts["sd_model_hash"] = kohya_model_hash(base);
}

SafetensorsMetadata metadata_of(const FluxRunConfig& config, const flux::FluxConfig& sizes,
                                const LoraProgress& progress, const TrainingFacts& more) {
  const LoraConfig& lora = *config.lora();
  TrainingFacts facts = lora_facts(config, sizes, progress);
  for (const auto& [name, value] : more) facts[name] = value;
  ModelSpec spec;
  spec.time = progress.now;
  spec.schnell = !sizes.guidance_embed;
  std::string title;
  // Pictures in folders have sizes of their own; sd-scripts then writes that of the model, which is the default.
  if (config.training_pictures.dataset != "pictures") {
    spec.width = spec.height = config.training_pictures.img_size;
  }
  for (const std::string& text : lora.metadata) {
    const size_t equals = text.find('=');
    const std::string key = text.substr(0, equals), value = text.substr(equals + 1);
    if (key == "title") {
      title = value;
    } else if (starts_with(key, kAnyFactPrefix)) {
      facts[key.substr(std::string_view(kAnyFactPrefix).size())] = value;
    } else if (key == "output_name" || key == "optimizer" || key == "lr_scheduler") {
      facts[key] = value;
    } else {
      spec.more[key] = value;
    }
  }
  spec.title = title.empty() ? python_str(facts.at("output_name")) : title;
  SafetensorsMetadata metadata = training_metadata(facts, lora.no_metadata);
  metadata.merge(model_spec_metadata(spec));
  return metadata;
}

}  // namespace

TrainingFacts lora_facts(const FluxRunConfig& config, const flux::FluxConfig& sizes, const LoraProgress& progress) {
  MILLRACE_CHECK(config.lora() != nullptr);
  TrainingFacts facts;
  for (const std::string& name : required_training_facts()) facts[name] = PythonValue();
  const std::string folder = std::filesystem::path(config.job.dump_folder).lexically_normal().filename().string();
  facts["session_id"] = static_cast<int64_t>(progress.started_at * 1000);
  facts["training_started_at"] = progress.started_at;
  facts["training_finished_at"] = progress.now;
  facts["output_name"] = folder.empty() ? "lora" : folder;
  add_steps(facts, config);
  facts["epoch"] = progress.epoch;
  facts["steps"] = progress.step;
  facts["seed"] = config.training.seed.value_or(0);
  facts["gradient_checkpointing"] = config.activation_checkpoint.mode != "none";
  const int64_t samples = config.training.global_batch_size, local = config.training.local_batch_size;
  facts["gradient_accumulation_steps"] = samples > 0 && local > 0 ? std::max<int64_t>(1, samples / local) : 1;
  facts["mixed_precision"] = config.training.mixed_precision_param == "bfloat16" ? "bf16" : "no";
  facts["multires_noise_discount"] = 0.3;  // the default of an option without effect
  facts["caption_dropout_rate"] = config.training_pictures.classifier_free_guidance_prob;
  // Sections of sd-scripts that this program trains without.
  for (const char* name : {"full_fp16", "cache_latents", "lowram", "zero_terminal_snr", "debiased_estimation",
                           "noise_offset_random_strength"}) {
    facts[name] = false;
  }
  facts["apply_t5_attn_mask"] = config.encoder.apply_t5_attn_mask;
  for (const char* name : {"num_train_images", "num_validation_images", "num_reg_images", "num_batches_per_epoch",
                           "num_epochs", "caption_dropout_every_n_epochs"}) {
    facts[name] = int64_t{0};
  }
  for (const char* name : {"validation_split", "caption_tag_dropout_rate"}) facts[name] = 0.0;
  facts["prior_loss_weight"] = 1.0;
  facts["network_dim"] = config.lora()->rank;
  facts["network_alpha"] =
      scale_of_rank(*config.lora(), config.lora()->rank) * static_cast<double>(config.lora()->rank);
  add_network(facts, config);
  add_objective(facts, config.objective());
  add_base_model(facts, config.checkpoint.initial_load_path);
  if (!sizes.guidance_embed) facts["guidance_scale"] = PythonValue();
  return facts;
}

flux::LoraParts kohya_parts(const std::vector<AdapterTensors>& adapters, const FluxRunConfig& config,
                            const flux::FluxConfig& sizes) {
  flux::LoraParts parts = flux::sort_run_adapters(adapters, sizes);
  parts.transformer = flux::whole_adapters(parts.transformer, sizes);
  const FluxAdapterOptions& options = *config.flux_adapters();
  if (options.split_qkv && options.split_qkv_alpha == SplitAlpha::kSdScripts) {
    flux::use_their_alpha(parts.transformer, sizes);
  }
  return parts;
}

std::vector<std::filesystem::path> write_lora_result(const std::filesystem::path& path,
                                                     const std::vector<AdapterTensors>& adapters,
                                                     const FluxRunConfig& config, const flux::FluxConfig& sizes,
                                                     torch::ScalarType dtype, const LoraProgress& progress,
                                                     const TrainingFacts& more) {
  const torch::ScalarType saved = save_dtype_of(*config.lora(), dtype);
  const flux::LoraParts parts = kohya_parts(adapters, config, sizes);
  flux::write_lora(
      parts, sizes,
      {path, flux::LoraNaming::kKohya, saved, metadata_of(config, sizes, progress, more), gives_rank(*config.lora())});
  check_lora_file(path, parts, sizes, saved);
  if (!needs_diffusers_file(parts)) return {path};
  const flux::LoraParts theirs = parts_for_diffusers(parts);
  const std::filesystem::path theirs_path = path.parent_path() / diffusers_file_name(path);
  flux::write_lora(theirs, sizes, {theirs_path, flux::LoraNaming::kDiffusers, saved, {}});
  check_lora_file(theirs_path, theirs, sizes, saved);
  return {path, theirs_path};
}

std::string diffusers_file_name(const std::filesystem::path& path) {
  return path.stem().string() + "_diffusers.safetensors";
}

void check_lora_file(const std::filesystem::path& path, const flux::LoraParts& parts, const flux::FluxConfig& sizes,
                     torch::ScalarType dtype) {
  flux::LoraParts in_file = flux::sort_adapters(read_adapters(WeightStore(path)), sizes, path.string());
  std::map<std::string, const AdapterTensors*> found;
  in_file.transformer = flux::whole_adapters(in_file.transformer, sizes);  // diffusers has parts of fused layers apart
  for (const AdapterTensors& adapter : in_file.transformer) found[adapter.module] = &adapter;
  for (const AdapterTensors& adapter : in_file.text_encoders) found[text_layer_name(adapter)] = &adapter;
  const auto check = [&](const AdapterTensors& adapter, const std::string& name) {
    const torch::Tensor expected = effect(adapter);
    const torch::Tensor got = found.contains(name) ? effect(*found.at(name)) : torch::Tensor();
    const double allowed = allowed_error(adapter, rounding_of(dtype));
    const double error = got.defined() ? (got - expected).norm().item<double>() : 0;
    if (got.defined() && error <= allowed) return;  // not a number is not
    throw StorageError(
        str("[", path.string(), ": ", name, "] expected the effect of the trained adapter, got ",
            got.defined() ? str("one that is off by ", error, " of ", expected.norm().item<double>()) : "none",
            " (try lora.save_dtype fp32)"));
  };
  for (const AdapterTensors& adapter : parts.transformer) check(adapter, adapter.module);
  for (const AdapterTensors& adapter : parts.text_encoders) check(adapter, text_layer_name(adapter));
}

}  // namespace millrace
