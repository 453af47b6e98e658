#include "diffusion/flux_run_config.h"

#include <filesystem>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "diffusion/flux_foreign_options.h"

namespace millrace {
namespace {

void check_model(const FluxModelConfig& model, Problems& problems) {
  if (model.hidden_size > 0 && model.num_heads > 0) {
    if (model.hidden_size % model.num_heads != 0) {
      problems.add("model.hidden_size",
                   str("expected a multiple of model.num_heads (", model.num_heads, "), got ", model.hidden_size));
    } else if (!model.axes_dim.empty()) {
      const int64_t head_dim = model.hidden_size / model.num_heads;
      const int64_t sum = std::accumulate(model.axes_dim.begin(), model.axes_dim.end(), int64_t{0});
      if (sum != head_dim) {
        problems.add("model.axes_dim",
                     str("expected numbers with the sum hidden_size / num_heads = ", head_dim, ", got the sum ", sum));
      }
    }
  }
  if (!model.axes_dim.empty() && model.axes_dim.size() != 3) {
    problems.add("model.axes_dim", str("expected 3 numbers (text, row, column), got ", model.axes_dim.size()));
  }
  for (const int64_t size : model.axes_dim) {
    if (size % 2 != 0) problems.add("model.axes_dim", str("expected even numbers, got ", size));
  }
}

void check_encoder(const EncoderConfig& encoder, Problems& problems) {
  if (encoder.autoencoder_shift.has_value() != encoder.autoencoder_scale.has_value()) {
    problems.add("encoder.autoencoder_scale",
                 "expected autoencoder_shift and autoencoder_scale both or neither, got one of them");
  }
}

// Pictures must divide into patches of the latent, which is 8 times smaller than the picture unless the model works on
// pixels.
void check_image_size(const FluxRunConfig& config, const std::string& place, int64_t size, Problems& problems) {
  const int64_t patch_size = config.model.patch_size > 0 ? config.model.patch_size : 2;
  const int64_t unit = patch_size * (config.encoder.autoencoder_path == "none" ? 1 : 8);
  if (size % unit != 0) {
    problems.add(place, str("expected a multiple of ", unit, " pixels (one image token), got ", size));
  }
}

// Options that shards have and data sets of pictures do not, and the other way round.
void check_pictures(const FluxRunConfig& config, Problems& problems) {
  const auto refuse = [&](bool is_set, const char* key, const std::string& expected) {
    if (is_set) problems.add(key, "expected " + expected);
  };
  const TrainingPicturesConfig& pictures = config.training_pictures;
  if (!config.trains_on_pictures()) {
    const EncodingCache latents = config.encoder.cache_latents;
    refuse(latents != EncodingCache::kAuto && latents != EncodingCache::kNone, "encoder.cache_latents",
           str("auto or none with shards, got ", choice_text(latents),
               " (`millrace prepare encode` encodes them beforehand)"));
    refuse(config.encoder.cache_encodings == EncodingCache::kNpz, "encoder.cache_encodings",
           "pictures for files beside them to belong to, got npz with shards (try disk)");
    refuse(config.encoder.cache_variants != 0, "encoder.cache_variants",
           str("training.dataset = \"pictures\" with it, got \"", pictures.dataset, "\""));
    refuse(config.validation_pictures.split > 0, "validation.split",
           str("training.dataset = \"pictures\" with it, got \"", pictures.dataset, "\""));
    refuse(pictures.resize_interpolation != TrainingPicturesConfig{}.resize_interpolation,
           "training.resize_interpolation",
           str("training.dataset = \"pictures\" with it, got \"", pictures.dataset, "\""));
    refuse(pictures.prior_loss_weight != 1, "training.prior_loss_weight",
           "training.dataset = \"pictures\" with it, got \"" + pictures.dataset + "\"");
    return refuse(pictures.masked_loss, "training.masked_loss",
                  "training.dataset = \"pictures\" with it, got \"" + pictures.dataset + "\"");
  }
  refuse(pictures.classifier_free_guidance_prob > 0, "training.classifier_free_guidance_prob",
         str("0 with pictures, got ", pictures.classifier_free_guidance_prob,
             " (try caption_dropout_rate in the data set file)"));
  refuse(config.training.subset_size.has_value(), "training.subset_size", "none with pictures, got one");
  refuse(config.training.shuffle_buffer_size != TrainingConfig{}.shuffle_buffer_size, "training.shuffle_buffer_size",
         "no value with pictures, whose batches are shuffled whole, got one");
  const double split = config.validation_pictures.split;
  refuse(split > 0 && !config.validation.enable, "validation.split",
         str("validation.enable with it, since what is held back is not trained on, got ", split, " without"));
  refuse(split > 0 && !config.validates_on_split(), "validation.split",
         str("validation.dataset_path or a part of the training data, got both, the part ", split,
             " (try validation.split = 0)"));
}

void check_sample(const FluxRunConfig& config, Problems& problems) {
  const SampleConfig& sample = config.sample;
  if (!sample.prompts.empty() && !sample.prompts_file.empty()) {
    problems.add("sample.prompts_file", "expected prompts or prompts_file, got both");
  }
  if (sample.every_epochs > 0 && !config.trains_on_pictures()) {
    problems.add("sample.every_epochs",
                 str("expected training.dataset = \"pictures\", of which epochs are known, got \"",
                     config.training_pictures.dataset, "\" (try sample.every_steps)"));
  }
  if (!sample.draws()) return;
  const std::filesystem::path validation_folder = config.validation_pictures.save_img_folder;
  if ((validation_folder / "").lexically_normal() == "samples/") {
    problems.add("validation.save_img_folder",
                 "expected another folder than \"samples\", where the grids of [sample] are");
  }
  const bool has_prompts = !sample.prompts.empty() || !sample.prompts_file.empty();
  const EncoderConfig& encoder = config.encoder;
  bool can_draw = true;  // a run on preprocessed data may load none of these
  for (const auto& [key, path] : {std::pair{"encoder.t5_encoder", encoder.t5_encoder},
                                  {"encoder.clip_encoder", encoder.clip_encoder},
                                  {"encoder.autoencoder_path", encoder.autoencoder_path}}) {
    if (!path.empty()) continue;
    can_draw = false;
    if (has_prompts) problems.add(key, "expected a path to draw sample.prompts with, got nothing");
  }
  if (can_draw && !has_prompts) {
    problems.add("sample.prompts",
                 "expected at least one prompt, got none (or set sample.every_steps and every_epochs to 0)");
  }
}

void check_tensor_parallel_degree(const FluxRunConfig& config, Problems& problems) {
  const int64_t tp = config.parallelism.tensor_parallel_degree, heads = config.model.num_heads;
  if (heads > 0 && heads % tp != 0) {
    problems.add("parallelism.tensor_parallel_degree",
                 str("expected a divisor of model.num_heads, ", heads, ", got ", tp));
  }
}

[[noreturn]] void throw_not_flux(const RunConfig& config) {
  throw ConfigError("[job.task] expected a task of FLUX, got \"" + config.job.task + "\"");
}

}  // namespace

void FluxRunConfig::describe(OptionCollector& visit) {
  RunConfig::describe(visit);
  visit.section("training", "", training_pictures);
  visit.section("validation", "", validation_pictures);
  visit.section("model", "what is trained", model);
  visit.section("encoder", "the frozen networks before the model", encoder);
  visit.section("sample", "pictures drawn during training", sample);
}

void FluxRunConfig::check(Problems& problems) const {
  RunConfig::check(problems);
  check_model(model, problems);
  check_encoder(encoder, problems);
  check_pictures(*this, problems);
  check_image_size(*this, "training.img_size", training_pictures.img_size, problems);
  if (sample.img_size > 0) check_image_size(*this, "sample.img_size", sample.img_size, problems);
  check_sample(*this, problems);
  check_tensor_parallel_degree(*this, problems);
}

void FluxRunConfig::check_trainable(Problems& problems) const {
  RunConfig::check_trainable(problems);
  const auto check_place = [&](const std::string& key, const std::string& name, const std::string& path) {
    if (!path.empty()) return;
    if (!name.empty() && (find_dataset_kind(name).is_synthetic || *find_dataset_kind(name).default_path)) return;
    const bool is_picture_set = !name.empty() && find_dataset_kind(name).is_picture_set;
    problems.add(key + "_path", is_picture_set
                                    ? "expected a data set file (.toml, .json) or a folder of folders, got nothing"
                                    : "expected tar shards, a data set's folder or a pattern, got nothing");
  };
  check_place("training.dataset", training_pictures.dataset, training_pictures.dataset_path);
  if (!validation.enable || validates_on_split()) return;
  check_place("validation.dataset", validation_pictures.dataset, validation_pictures.dataset_path);
}

bool FluxRunConfig::trains_on_pictures() const {
  return find_dataset_kind(training_pictures.dataset).is_picture_set;
}

bool FluxRunConfig::validates_on_split() const {
  const std::string& kind = validation_pictures.dataset;
  return trains_on_pictures() && validation_pictures.dataset_path.empty() &&
         (kind.empty() || kind == training_pictures.dataset);
}

bool FluxRunConfig::trains_on_captions() const {
  return !training_pictures.dataset.empty() && !find_dataset_kind(training_pictures.dataset).is_encoded;
}

bool FluxRunConfig::trains_clip_l() const {
  const FluxAdapterOptions* adapters = flux_adapters();
  if (adapters == nullptr) return false;
  const std::string& clip = encoder.clip_encoder;
  return adapters->train_clip_l.value_or(trains_on_captions() && !clip.empty() && clip != kRandomNetwork);
}

bool FluxRunConfig::trains_t5xxl() const {
  const FluxAdapterOptions* adapters = flux_adapters();
  return adapters != nullptr && adapters->train_t5xxl;
}

std::vector<ForeignOption> FluxRunConfig::foreign_options() const {
  std::vector<ForeignOption> options = RunConfig::foreign_options();
  for (const ForeignOption& option : flux_foreign_options()) options.push_back(option);
  return options;
}

void FluxRunConfig::apply(const GivenOptions& given) {
  RunConfig::apply(given);
  // The MLPerf branch has no switch for validation: naming a data set enables it, and an empty name (--eval.dataset=)
  // disables it. On the command line this overrides a switch in the file.
  const bool by_switch = given.contains("validation.enable") && (given.is_on_command_line("validation.enable") ||
                                                                 !given.is_on_command_line("validation.dataset"));
  if (starts_with(given.spelling("validation.dataset"), "eval.") && !by_switch) {
    validation.enable = !validation_pictures.dataset.empty();
  }
  // enable_classifier_free_guidance decides whether torchtitan's scale is used; ours needs no switch.
  if (given.translated.empty() || given.spelling("sample.guidance_scale") == "sample.guidance_scale") return;
  constexpr double kTorchtitanScale = 5.0;
  const bool enabled = given.translated.back().second.boolean;
  if (!enabled) sample.guidance_scale = 1.0;
  if (enabled && !given.contains("sample.guidance_scale")) sample.guidance_scale = kTorchtitanScale;
}

FluxRunConfig& as_flux(RunConfig& config) {
  if (auto* flux = dynamic_cast<FluxRunConfig*>(&config)) return *flux;
  throw_not_flux(config);
}

const FluxRunConfig& as_flux(const RunConfig& config) {
  if (const auto* flux = dynamic_cast<const FluxRunConfig*>(&config)) return *flux;
  throw_not_flux(config);
}

}  // namespace millrace
