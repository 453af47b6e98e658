#include "tasks/flux/flux_task.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "adapters/background_file_hash.h"
#include "adapters/configured_adapter.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "config/optimizer_rules.h"
#include "diffusion/flux_batch.h"
#include "diffusion/flux_drawing.h"
#include "diffusion/flux_front_end.h"
#include "diffusion/flux_objective.h"
#include "diffusion/flux_setup.h"
#include "diffusion/flux_trainee.h"
#include "diffusion/kohya_file_names.h"
#include "diffusion/lora_readers.h"
#include "diffusion/lora_result.h"
#include "diffusion/pictures.h"
#include "formats/weight_fingerprint.h"
#include "metrics/epoch_average.h"
#include "models/flux/entry.h"
#include "models/flux/flops.h"
#include "models/lora_text_names.h"
#include "nn/quantised_weight.h"
#include "parallel/configured_placement.h"
#include "tasks/earlier_checkpoint.h"
#include "tasks/flux/flux_task_data.h"
#include "tasks/flux/flux_validation.h"
#include "tasks/flux_lora/flux_lora_config.h"

namespace millrace {
namespace {

std::vector<PromptToDraw> sample_prompts(const SampleConfig& sample, TaskPurpose purpose) {
  // What only `millrace sample` draws need not be there.
  if (!sample.draws() || purpose != TaskPurpose::kTrain) return {};
  return configured_prompts(sample);
}

std::string grid_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step-%08lld", static_cast<long long>(step));
  return name;
}

double unix_seconds() {
  return static_cast<double>(unix_milliseconds()) / 1000;
}

class FluxTask : public Task {
 public:
  FluxTask(const FluxRunConfig& config, Mesh& mesh, torch::Device device, TaskPurpose purpose)
      : owned_config_(config.clone()),
        config_(as_flux(*owned_config_)),
        mesh_(mesh),
        objective_{static_cast<uint64_t>(config.training.seed.value_or(0)), patch_size(config), config.objective()},
        device_(device),
        dtype_(compute_dtype(config, device_)),
        keep_(keep_of(config.activation_checkpoint.mode, config.activation_checkpoint.offload)),
        prompts_(sample_prompts(config.sample, purpose)),
        data_(as_flux(*owned_config_), mesh, device, purpose) {
    if (purpose == TaskPurpose::kTrain) forget_start_if_resumed();
    const bool networks = data_.needs_networks() || (!prompts_.empty() && missing_for_drawing(config_).empty());
    if (networks) front_end_.codec = make_picture_codec(config_, dtype_, device_);
    set_latent_scale(front_end_, config_.encoder);
    sizes_ = flux_config(config_, front_end_.codec ? front_end_.codec->channels() : data_.shapes()->latent_channels);
    data_.check(front_end_, sizes_);
    training_ = data_.training_batches(front_end_);
    steps_per_epoch_ = data_.steps_per_epoch();
    losses_ = EpochAverage(steps_per_epoch_);
    if (networks) front_end_.encoders = make_caption_encoders(config_, sizes_, dtype_, device_, &mesh_);
    if (data_.trains_on_encodings() && config_.training_pictures.classifier_free_guidance_prob > 0) {
      load_empty_prompt(front_end_, config_, sizes_, device_);
    } else if (!config_.encoder.empty_encodings_path.empty() && data_.trains_on_originals()) {
      log_warning("[encoder.empty_encodings_path] has no effect: the encoders encode the empty prompt themselves");
    }
    FlatParametersOptions placement = configured_placement(config_, device_);
    placement.training = purpose == TaskPurpose::kTrain;
    placement.mesh = &mesh_;
    trainee_ = make_flux_trainee(config_, sizes_, placement,
                                 placement.training ? std::optional(objective_.seed) : std::nullopt,
                                 networks ? &front_end_.encoders : nullptr);
  }

  FlatParameters& parameters() override { return trainee_->parameters(); }

  // Every sample counts as one, whatever the factor of its loss.
  double expected_weight() const override { return static_cast<double>(training_->batch_size()); }

  std::vector<RateGroup> rate_groups() const override { return trainee_->rate_groups(); }
  void weights_changed() override { trainee_->weights_changed(); }
  // As sd-scripts does, without a limit on norms.
  void gradients_ready(int64_t step, const torch::Tensor& grad, const torch::Tensor& factor_1) override {
    gradient_norm_.reset();
    const MetricsConfig& metrics = config_.metrics;
    if (!trainee_->is_adapter() || config_.lora()->scale_weight_norms) return;
    if (!metrics.enable_tensorboard || !logs_step(metrics, step, config_.training.steps)) return;
    gradient_norm_ = trainee_->mean_gradient_norm(grad);
    if (gradient_norm_) *gradient_norm_ *= factor_1.item<double>();
  }

  void next_microbatch() override {
    remember_start();
    start_base_hash();
    batch_ = training_->next();
  }
  std::optional<double> arrived_weight() const override { return static_cast<double>(batch_->num_samples); }

  MicrobatchResult train_microbatch(double scale) override {
    MILLRACE_CHECK(batch_.has_value());
    const FluxBatch batch = *std::exchange(batch_, std::nullopt);
    if (!batch.epochs.empty()) epoch_ = batch.epochs.front();
    MicrobatchResult result;
    result.data_seconds = batch.data_seconds;
    result.weight = static_cast<double>(batch.num_samples);
    result.num_samples = batch.num_samples;
    result.num_tokens =
        batch.num_samples * (image_tokens(batch.latent_BZhw.size(2) * batch.latent_BZhw.size(3)) + text_tokens());
    result.sample_digest = batch.digest;
    // A batch without samples has one that counts nothing.
    const double sample_scale = batch.num_samples == 0 ? 0 : scale;
    result.loss_1 = train_on_batch(*trainee_, batch, objective_, keep_, sample_scale) * sample_scale;
    return result;
  }

  // Of adapters, sd-scripts' tags.
  std::vector<TaggedNumber> numbers_of(const StepMetrics& step) override {
    if (!trainee_->is_adapter()) return {};
    losses_.add(step.loss);
    const double average = losses_.value();
    std::vector<TaggedNumber> numbers = {{"loss/current", step.loss}, {kAverageLossTag, average}, {"lr/unet", step.lr}};
    if (steps_per_epoch_ > 0 && step.step % steps_per_epoch_ == 0) numbers.push_back({kEpochLossTag, average});
    const bool has_d = optimizer_rule(config_.optimizer.name).finds_step_size();
    const double d_lr = step.effective_lr.value_or(step.lr);
    if (has_d) numbers.push_back({"lr/d*lr/unet", d_lr});
    if (config_.optimizer.name == "ProdigyPlusScheduleFree") numbers.push_back({"lr/d*lr", d_lr});
    // LoRA+: up matrices, which learn faster.
    const auto add_plus = [&](const std::string& name, double lr_factor, const std::optional<double>& ratio) {
      if (ratio && *ratio != 1) numbers.push_back({"lr/" + name + " plus", step.lr * lr_factor * *ratio});
    };
    add_plus("unet", 1, config_.lora()->loraplus_ratio);
    int number = 0;
    for (const TrainedEncoder& trained : trained_encoders(config_, &front_end_.encoders)) {
      const std::string name = str("textencoder ", ++number, " ");
      numbers.push_back({"lr/" + name, step.lr * trained.lr_factor});
      if (has_d) numbers.push_back({"lr/d*lr/" + name, d_lr * trained.lr_factor});
      add_plus(name, trained.lr_factor,
               trained.loraplus_ratio ? trained.loraplus_ratio : config_.lora()->loraplus_ratio);
    }
    if (const auto norm = std::exchange(gradient_norm_, std::nullopt)) numbers.push_back({"norm/avg_grad_norm", *norm});
    if (const std::optional<MaxNormResult> norms = trainee_->limited_norms()) {
      numbers.push_back({"max_norm/keys_scaled", static_cast<double>(norms->scaled)});
      numbers.push_back({"max_norm/max_key_norm", norms->max_norm});
      numbers.push_back({"norm/avg_key_norm", norms->mean_norm});
    }
    return numbers;
  }

  std::optional<ValidationResult> validate() override {
    const std::unique_ptr<FluxBatchSource> batches = data_.validation_batches(front_end_);
    if (!batches) return std::nullopt;
    FluxValidationOptions options = data_.validation_options();
    options.objective = objective_;
    return validate_flux(*trainee_, *batches, mesh_, options);
  }

  bool previews_due(const PreviewMoment& moment) const override {
    return prompts_due(moment) || validation_captions_due(moment);
  }
  // Grids of pictures, named after the step.
  void preview(const PreviewMoment& moment, const std::filesystem::path& run_folder) override {
    if (prompts_due(moment)) draw_samples(moment, run_folder / "samples");
    if (validation_captions_due(moment)) {
      draw_validation_captions(moment.step, run_folder / config_.validation_pictures.save_img_folder);
    }
  }

  bool writes_result() const override { return trainee_->is_adapter(); }
  // The adapters as other programs read them, in the dtype that the run computes in.
  Files write_result(int64_t step, const std::filesystem::path& run_folder) override {
    const UnitUse whole = trainee_->parameters().forward_unit(0, /*keep=*/false);
    if (mesh_.world().rank() != 0) return {};
    const int64_t epoch = epoch_ + (step == config_.training.steps ? 1 : 0);
    const std::vector<AdapterTensors> adapters = adapters_of(whole.compute());
    const Files files = write_lora_file(run_folder / "lora.safetensors", {step, epoch}, adapters);
    warn_if_at_start(adapters, step);
    warn_if_unchanged(whole.compute(), step);
    return files;
  }

  bool keeps_result(int64_t step, bool last) const override { return !files_to_keep(step, last).due.empty(); }
  Files keep_result(int64_t step, bool last, const std::filesystem::path& run_folder) override {
    const UnitUse whole = trainee_->parameters().forward_unit(0, /*keep=*/false);
    if (mesh_.world().rank() != 0) return {};
    const std::vector<AdapterTensors> adapters = adapters_of(whole.compute());
    const KohyaFiles files = files_to_keep(step, last);
    Files written;
    for (const KohyaFile& file : files.due) {
      const Files both = write_lora_file(run_folder / file.name, {step, file.epoch}, adapters);
      written.insert(written.end(), both.begin(), both.end());
      log_info("wrote ", (run_folder / file.name).string());
    }
    std::error_code ignored;
    for (const std::string& name : files.outdated) {
      std::filesystem::remove(run_folder / name, ignored);
      std::filesystem::remove(run_folder / diffusers_file_name(name), ignored);
    }
    return written;
  }

  std::string data_position() const override { return training_->position(); }
  void restore_data_position(const std::string& position) override { training_->restore(position); }
  std::string state() const override {
    return trainee_->is_adapter() ? str("{\"epoch\": ", epoch_, ", \"losses\": ", losses_.state(), "}") : std::string();
  }
  void restore_state(const std::string& state) override {
    if (!trainee_->is_adapter()) return;
    const nlohmann::json saved = nlohmann::json::parse(state);
    epoch_ = saved.value("epoch", int64_t{0});
    if (saved.contains("losses")) losses_.restore(saved["losses"].dump());
  }

  double flops_per_sample() const override {
    // For the mean sample, where pictures are of several sizes.
    double flops = 0;
    for (const PictureShare& size : training_->sizes()) {
      flops += size.share * flux::train_flops_per_sample(sizes_, image_tokens_of(size), text_tokens(),
                                                         /*frozen=*/trainee_->is_adapter());
    }
    return flops;
  }

  uint64_t weights_fingerprint() const override {
    std::vector<uint64_t> sums;
    for (const WeightSource& source : weight_sources()) sums.push_back(weight_fingerprint(WeightStore(source.path)));
    return checksum64(sums.data(), sums.size() * sizeof(uint64_t));
  }

  std::vector<WeightSource> weight_sources() const override {
    std::vector<WeightSource> sources;
    const auto add = [&](const std::string& path) {
      if (!path.empty() && path != "none" && path != kRandomNetwork) sources.push_back({.path = path});
    };
    const LoraConfig* lora = config_.lora();
    if (lora != nullptr) {
      add(lora->initial_adapter);
      for (const std::string& path : lora->base_weights) add(path);
    }
    if (const std::string& base = config_.checkpoint.initial_load_path; !base.empty()) {
      sources.push_back({.path = base, .prefix = kTransformerPrefix});
      if (lora != nullptr) sources.back().largest = largest_magnitude(base_storage_of(*lora));
    }
    // A run from encodings loads no networks: those that its configuration names need not be there.
    if (front_end_.codec) {
      const EncoderConfig& encoder = config_.encoder;
      for (const std::string& path : {encoder.clip_encoder, encoder.autoencoder_path, encoder.t5_encoder}) add(path);
    }
    return sources;
  }

  std::vector<std::string> describe() const override {
    std::vector<std::string> lines = {str("FLUX: ", with_thousands(num_model_parameters()), " parameters, hidden size ",
                                          sizes_.hidden_size, ", ", sizes_.num_heads, " heads, ", sizes_.depth,
                                          " double and ", sizes_.depth_single_blocks, " single blocks, ",
                                          dtype_ == torch::kBFloat16 ? "bfloat16" : "float32", " on ", device_.str())};
    if (const LoraConfig* lora = config_.lora()) {
      std::set<std::string> layers;
      for (const ParameterSlice& slice : trainee_->parameters().slices()) layers.insert(layer_of(slice.name));
      const std::string kind = lora->kind == AdapterKind::kLora ? "LoRA" : choice_text(lora->kind);
      lines.push_back(str(kind, ": ", with_thousands(trainee_->parameters().num_parameters()), " parameters on ",
                          layers.size(), " layers, rank ", lora->rank, ", scale ", scale_of_rank(*lora, lora->rank)));
    }
    const auto [fewest, most] = tokens_per_sample();
    lines.push_back(str("data: ", training_->describe(), ", ", fewest == most ? "" : str(fewest, " to "), most,
                        " tokens per sample"));
    return lines;
  }

 private:
  // A resumed run has its adapters in the checkpoint: the file that it started from may be gone.
  void forget_start_if_resumed() {
    auto* config = dynamic_cast<FluxLoraConfig*>(owned_config_.get());
    if (config == nullptr || config->lora_options.initial_adapter.empty()) return;
    if (has_earlier_checkpoint(config_, mesh_, device_)) config->lora_options.initial_adapter.clear();
  }

  bool prompts_due(const PreviewMoment& moment) const {
    const auto is_due = [&](int64_t interval) { return interval > 0 && moment.step % interval == 0; };
    const SampleConfig& sample = config_.sample;
    return sample.draws() &&
           (moment.last || is_due(sample.every_steps) || is_due(sample.every_epochs * steps_per_epoch_));
  }
  bool validation_captions_due(const PreviewMoment& moment) const {
    return moment.validated && !config_.validation_pictures.save_img_folder.empty();
  }

  // Those of quantised matrices, too.
  int64_t num_model_parameters() const {
    int64_t count = trainee_->model().flat_parameters().num_parameters();
    for (const auto& [name, weight] : quantised_weights(trainee_->model())) {
      count += weight->in_features() * weight->out_features();
    }
    return count;
  }

  int64_t text_tokens() const { return config_.encoder.max_t5_encoding_len; }
  int64_t image_tokens(int64_t latents) const { return latents / (patch_size(config_) * patch_size(config_)); }
  int64_t image_tokens_of(const PictureShare& size) const {
    const int64_t downscale = data_.downscale(front_end_);
    return image_tokens((size.width / downscale) * (size.height / downscale));
  }
  std::pair<int64_t, int64_t> tokens_per_sample() const {
    std::vector<int64_t> tokens;
    for (const PictureShare& size : training_->sizes()) tokens.push_back(image_tokens_of(size) + text_tokens());
    const auto [fewest, most] = std::minmax_element(tokens.begin(), tokens.end());
    return {*fewest, *most};
  }

  KohyaFiles files_to_keep(int64_t step, bool last) const {
    if (!trainee_->is_adapter()) return {};
    return kohya_files(*config_.flux_adapters(), {step, epoch_, steps_per_epoch_, last});
  }

  // whole: all adapters, one after the other as in their layout.
  std::vector<AdapterTensors> adapters_of(const torch::Tensor& whole) const {
    TensorMap ours;
    for (const ParameterSlice& slice : trainee_->parameters().slices()) {
      ours[slice.name] = FlatParameters::view(whole, slice);
    }
    return configured_adapters(*config_.lora(), ours);
  }

  struct Trained {
    int64_t steps = 0, epochs = 0;
  };
  // Where metadata that this rank writes have the hash of the base's file.
  void start_base_hash() {
    const std::filesystem::path base = config_.checkpoint.initial_load_path;
    if (base_hash_ || !writes_result() || mesh_.world().rank() != 0 || config_.lora()->no_metadata) return;
    if (std::filesystem::is_regular_file(base)) base_hash_.emplace(base);
  }
  TrainingFacts facts_of_files() {
    TrainingFacts facts = data_.facts();
    start_base_hash();  // of a run that trains no step, but writes what a full disk kept it from writing
    if (!base_hash_) return facts;
    try {
      facts["new_sd_model_hash"] = base_hash_->get();
    } catch (const Error& error) {
      log_warning("the metadata of the adapters lack ss_new_sd_model_hash: ", error.what());
    }
    return facts;
  }

  Files write_lora_file(const std::filesystem::path& path, const Trained& trained,
                        const std::vector<AdapterTensors>& adapters) {
    const Files files = write_lora_result(
        path, adapters, config_, sizes_, dtype_,
        {.step = trained.steps, .epoch = trained.epochs, .started_at = started_at_, .now = unix_seconds()},
        facts_of_files());
    if (!std::exchange(said_readers_, true)) {
      log_info(
          lora_readers(kohya_parts(adapters, config_, sizes_), path.filename().string(), diffusers_file_name(path)));
    }
    return files;
  }

  // Two sums over all adapters: the same before and after where nothing was learnt.
  using Sums = std::pair<double, double>;
  static Sums sums_of(const torch::Tensor& whole) {
    return {whole.sum(torch::kFloat64).item<double>(),
            at::linalg_vector_norm(whole, 2, at::OptionalIntArrayRef(), false, torch::kFloat64).item<double>()};
  }

  // Before the first step of a run that starts from a file; a resumed run no longer names the file.
  void remember_start() {
    if (start_ || !trainee_->is_adapter() || config_.lora()->initial_adapter.empty()) return;
    start_ = sums_of(trainee_->parameters().forward_unit(0, /*keep=*/false).compute());
  }

  void warn_if_unchanged(const torch::Tensor& whole, int64_t step) const {
    if (!start_ || *start_ != sums_of(whole)) return;
    log_warning("[lora] expected adapters that have learnt something, got those of lora.initial_adapter after step ",
                step, " (try a larger optimizer.lr)");
  }

  // Of each model that has adapters.
  void warn_if_at_start(const std::vector<AdapterTensors>& adapters, int64_t step) const {
    std::map<std::string, bool> at_start;
    for (const AdapterTensors& adapter : adapters) {
      const auto layer = flux::parse_run_text_layer(adapter.module);
      const char* model = !layer ? "FLUX" : layer->part == flux::LoraPart::kT5 ? "T5" : "CLIP";
      bool& is_so = at_start.try_emplace(model, true).first->second;
      is_so = is_so && is_without_effect(adapter);
    }
    std::vector<std::string> models;
    for (const auto& [model, is_so] : at_start) {
      if (is_so) models.push_back(model);
    }
    if (models.empty()) return;
    const bool are_all = models.size() == at_start.size();
    log_warning("[lora] expected up matrices that have learnt something, got zeros alone after step ", step,
                are_all ? config_.lora()->kind == AdapterKind::kDora
                              ? ": the adapters change no direction (try a larger optimizer.lr)"
                              : ": the adapters change nothing (try a larger optimizer.lr)"
                        : str(": the adapters of ", join(models, " and "), " change nothing (try larger rates)"));
  }

  // At the end of a run of LoRA also without the adapters, and with half of what they add.
  void draw_samples(const PreviewMoment& moment, const std::filesystem::path& folder) {
    if (!can_draw()) return;
    draw_grid(prompts_, grid_name(moment.step), folder, ForReport::kYes);
    if (!moment.last || !trainee_->is_adapter()) return;
    for (const double strength : {0.0, 0.5}) {
      trainee_->set_strength(strength);
      draw_grid(prompts_, grid_name(moment.step) + format_double("-strength-%g", strength), folder, ForReport::kYes);
    }
    trainee_->set_strength(1);
  }

  void draw_validation_captions(int64_t step, const std::filesystem::path& folder) {
    if (!data_.validation_has_captions()) {
      if (!std::exchange(warned_no_captions_, true)) {
        log_warning("[validation.save_img_folder] has no effect: encoded validation data has no captions");
      }
      return;
    }
    if (!can_draw()) return;
    if (validation_captions_.empty()) {
      validation_captions_ = data_.validation_captions(config_.validation_pictures.save_img_count);
    }
    draw_grid(plain_prompts(validation_captions_), grid_name(step), folder, ForReport::kNo);
  }

  bool can_draw() {
    const std::string missing = missing_for_drawing(config_);
    if (missing.empty()) return true;
    if (!std::exchange(warned_missing_, true)) {
      log_info("no sample pictures are drawn: that needs ", missing, ", which is not set");
    }
    return false;
  }

  // The grid, and for the report where each picture lies.
  enum class ForReport { kNo, kYes };
  void draw_grid(const std::vector<PromptToDraw>& prompts, const std::string& name, const std::filesystem::path& folder,
                 ForReport for_report) {
    if (prompts.empty()) return;
    MILLRACE_CHECK(front_end_.can_draw());
    const std::vector<Image> pictures =
        of_one_size(draw_prompts(*trainee_, front_end_.encoders, *front_end_.codec, prompts,
                                 draw_options(config_, sizes_), mesh_.data(), /*wants_pictures=*/true));
    if (mesh_.world().rank() != 0) return;
    const std::vector<std::string> texts = texts_of(prompts);
    const Image grid = picture_grid(pictures, texts, config_.sample.grid_columns);
    create_folders(folder);
    if (for_report == ForReport::kYes) {
      write_file_atomically(folder / (name + ".json"),
                            to_json(grid_places(pictures, texts, config_.sample.grid_columns)));
    }
    write_file_atomically(folder / (name + ".png"),
                          encode_picture(grid, join(texts, "\n"), {config_.model.flavor, ""}));
  }

  std::unique_ptr<RunConfig> owned_config_;
  const FluxRunConfig& config_;
  Mesh& mesh_;
  FluxObjective objective_;
  torch::Device device_;
  torch::Dtype dtype_;
  Keep keep_;
  std::vector<PromptToDraw> prompts_;
  FluxTaskData data_;
  FluxFrontEnd front_end_;
  flux::FluxConfig sizes_;
  std::unique_ptr<FluxBatchSource> training_;
  std::optional<FluxBatch> batch_;  // the microbatch at hand
  bool warned_missing_ = false, warned_no_captions_ = false, said_readers_ = false;
  std::vector<std::string> validation_captions_;  // of its pictures; empty: not read yet
  std::unique_ptr<FluxTrainee> trainee_;
  int64_t epoch_ = 0;            // of the samples trained on last
  int64_t steps_per_epoch_ = 0;  // 0: unknown
  EpochAverage losses_;
  std::optional<double> gradient_norm_;  // of the step, if it is logged
  std::optional<Sums> start_;            // of a run that starts from a file of adapters
  double started_at_ = unix_seconds();
  std::optional<BackgroundFileHash> base_hash_;  // where results are written, from the first microbatch on
};

}  // namespace

std::unique_ptr<Task> make_flux_task(const RunConfig& config, Mesh& mesh, torch::Device device, TaskPurpose purpose) {
  return std::make_unique<FluxTask>(as_flux(config), mesh, device, purpose);
}

std::unique_ptr<ModelDescription> describe_flux_model(const RunConfig& config, const TensorMap& shapes) {
  const FluxRunConfig& options = as_flux(config);
  const auto in_weight = shapes.find("img_in.weight");
  if (in_weight == shapes.end()) throw ModelError("[img_in.weight] expected the weights of FLUX, got others");
  const int64_t patch = patch_size(options);
  return flux::describe(flux_config(options, in_weight->second.size(1) / (patch * patch)));
}

}  // namespace millrace
