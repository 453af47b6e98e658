#include "tasks/flux/flux_task.h"

#include <algorithm>
#include <cstdio>
#include <set>
#include <utility>

#include "adapters/configured_adapter.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "data/shard_cache.h"
#include "diffusion/dataset_survey.h"
#include "diffusion/encoder_identity.h"
#include "diffusion/flow_matching.h"
#include "diffusion/flux_batches.h"
#include "diffusion/flux_data.h"
#include "diffusion/flux_drawing.h"
#include "diffusion/flux_front_end.h"
#include "diffusion/flux_objective.h"
#include "diffusion/flux_setup.h"
#include "diffusion/flux_trainee.h"
#include "diffusion/lora_result.h"
#include "diffusion/pictures.h"
#include "formats/weight_fingerprint.h"
#include "models/flux/entry.h"
#include "models/flux/flops.h"
#include "nn/quantised_weight.h"
#include "parallel/configured_placement.h"
#include "tasks/flux/flux_validation.h"

namespace millrace {
namespace {

std::vector<std::string> sample_prompts(const SampleConfig& sample, TaskPurpose purpose) {
  // What only `millrace sample` draws need not be there.
  if (sample.every_steps == 0 || purpose != TaskPurpose::kTrain) return {};
  return sample.prompts_file.empty() ? sample.prompts : read_prompts_file(sample.prompts_file);
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
        keep_(keep_of(config.activation_checkpoint.mode)),
        prompts_(sample_prompts(config.sample, purpose)) {
    if (purpose == TaskPurpose::kTrain) training_data_ = training_dataset(config_, mesh_.world(), device_);
    if (config_.validation.enable) {
      validation_data_ = validation_dataset(config_, mesh_.world(), device_);
      const bool are_needed = validation_data_->kind->needs_timesteps;
      if (!config_.validation_pictures.all_timesteps)
        validation_timesteps_ = are_needed ? TimestepUse::kRequired : TimestepUse::kIfThere;
    }
    const bool networks = needs_networks();
    if (networks) front_end_.codec = make_picture_codec(config_, dtype_, device_);
    set_latent_scale(front_end_, config_.encoder);
    sizes_ = flux_config(config_, front_end_.codec ? front_end_.codec->channels() : shapes()->latent_channels);
    for (const auto& data : {training_data_, validation_data_}) {
      if (data && data->shapes) {
        check_encodings(*data, config_, sizes_, front_end_.codec ? front_end_.codec->downscale() : 0);
      }
    }
    check_encoded_by_the_same();
    if (validation_data_ && !validation_data_->kind->is_synthetic) check_validation_data();
    const int64_t multiple = downscale() * patch_size(config_);
    if (config_.training_pictures.img_size % multiple != 0) {
      throw ConfigError(str("[training.img_size] expected a multiple of ", multiple,
                            " (patch_size x the autoencoder's ", downscale(), "), got ",
                            config_.training_pictures.img_size));
    }
    if (training_data_) training_ = std::make_unique<FluxBatches>(training_options(), front_end_);
    if (networks) front_end_.encoders = make_caption_encoders(config_, sizes_, dtype_, device_, &mesh_);
    if (training_data_ && training_data_->shapes && config_.training_pictures.classifier_free_guidance_prob > 0) {
      load_empty_prompt(front_end_, config_, sizes_, device_);
    } else if (!config_.encoder.empty_encodings_path.empty() && training_data_ && !training_data_->shapes) {
      log_warning("[encoder.empty_encodings_path] has no effect: the encoders encode the empty prompt themselves");
    }
    FlatParametersOptions placement = configured_placement(config_, device_);
    placement.training = purpose == TaskPurpose::kTrain;
    placement.mesh = &mesh_;
    trainee_ = make_flux_trainee(config_, sizes_, placement,
                                 placement.training ? std::optional(objective_.seed) : std::nullopt);
  }

  FlatParameters& parameters() override { return trainee_->parameters(); }

  // Every sample weighs 1.
  double expected_weight() const override {
    return static_cast<double>(config_.training.local_batch_size * mesh_.data_size());
  }

  std::vector<RateGroup> rate_groups() const override { return trainee_->rate_groups(); }
  void weights_changed() override { trainee_->weights_changed(); }

  void next_microbatch() override { batch_ = training_->next(); }

  MicrobatchResult train_microbatch(double scale) override {
    MILLRACE_CHECK(batch_.has_value());
    const FluxBatch batch = *std::exchange(batch_, std::nullopt);
    MicrobatchResult result;
    result.data_seconds = batch.data_seconds;
    result.weight = static_cast<double>(batch.num_samples);
    result.num_samples = batch.num_samples;
    result.num_tokens = batch.num_samples * tokens_per_sample();
    result.sample_digest = batch.digest;
    // A batch without samples has one that counts nothing.
    const double sample_scale = batch.num_samples == 0 ? 0 : scale;
    result.loss_1 = train_on_batch(*trainee_, batch, objective_, keep_, sample_scale) * sample_scale;
    return result;
  }

  std::optional<ValidationResult> validate() override {
    const ValidationConfig& validation = config_.validation;
    if (!validation.enable) return std::nullopt;
    FluxBatchesOptions data = validation_options();
    data.loader.batch_size = validation.local_batch_size * mesh_.data_size();
    FluxBatches batches(data, front_end_);
    FluxValidationOptions options;
    options.objective = objective_;
    options.max_batches = validation.steps;
    options.all_timesteps = config_.validation_pictures.all_timesteps;
    options.needs_timesteps = validation_data_->kind->needs_timesteps;
    options.data_name = validation_data_->name;
    return validate_flux(*trainee_, batches, mesh_, options);
  }

  bool previews_due(const PreviewMoment& moment) const override {
    return prompts_due(moment) || validation_captions_due(moment);
  }
  // Grids of pictures, named after the step.
  void preview(const PreviewMoment& moment, const std::filesystem::path& run_folder) override {
    if (prompts_due(moment)) draw_prompts(moment.step, run_folder / "samples");
    if (validation_captions_due(moment)) {
      draw_validation_captions(moment.step, run_folder / config_.validation_pictures.save_img_folder);
    }
  }

  bool writes_result() const override { return trainee_->is_adapter(); }
  // The adapters as other programs read them, in the dtype that the run computes in.
  void write_result(int64_t step, const std::filesystem::path& run_folder) override {
    const UnitUse whole = trainee_->parameters().forward_unit(0, /*keep=*/false);
    if (mesh_.world().rank() == 0) write_lora_file(run_folder / "lora.safetensors", step, whole.compute());
  }

  std::string data_position() const override { return training_->loader().position(); }
  void restore_data_position(const std::string& position) override { training_->loader().restore(position); }

  double flops_per_sample() const override {
    const int64_t text_tokens = config_.encoder.max_t5_encoding_len;
    return flux::train_flops_per_sample(sizes_, tokens_per_sample() - text_tokens, text_tokens,
                                        /*frozen=*/trainee_->is_adapter());
  }

  uint64_t weights_fingerprint() const override {
    const EncoderConfig& encoder = config_.encoder;
    std::vector<std::string> paths = {config_.checkpoint.initial_load_path};
    if (const LoraConfig* lora = config_.lora()) {
      paths.push_back(lora->initial_adapter);
      paths.insert(paths.end(), lora->base_weights.begin(), lora->base_weights.end());
    }
    // A run from encodings loads no networks: those that its configuration names need not be there.
    if (front_end_.codec)
      paths.insert(paths.end(), {encoder.t5_encoder, encoder.clip_encoder, encoder.autoencoder_path});
    std::vector<uint64_t> sums;
    for (const std::string& path : paths) {
      const bool is_file = !path.empty() && path != "none" && path != kRandomNetwork;
      sums.push_back(is_file ? weight_fingerprint(WeightStore(path)) : 0);
    }
    return checksum64(sums.data(), sums.size() * sizeof(uint64_t));
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
    lines.push_back(str("data: ", training_data_->name, training_data_->shapes ? " (encoded beforehand)" : "", ", ",
                        config_.training_pictures.img_size, " x ", config_.training_pictures.img_size, " pixels, ",
                        tokens_per_sample(), " tokens per sample"));
    return lines;
  }

 private:
  bool prompts_due(const PreviewMoment& moment) const {
    const int64_t interval = config_.sample.every_steps;
    return interval > 0 && (moment.last || moment.step % interval == 0);
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

  // Of encoded samples.
  const EncodingShapes* shapes() const {
    if (training_data_ && training_data_->shapes) return &*training_data_->shapes;
    return validation_data_ && validation_data_->shapes ? &*validation_data_->shapes : nullptr;
  }
  // The frozen networks encode pictures and captions, and draw samples.
  bool needs_networks() const {
    if (training_data_ && !training_data_->shapes) return true;
    if (validation_data_ && !validation_data_->shapes) return true;
    if (shapes() == nullptr) return true;  // nothing else says what the model takes
    return !prompts_.empty() && missing_for_drawing(config_).empty();
  }

  // Training and validation data, and the empty prompt that takes the place of captions.
  void check_encoded_by_the_same() const {
    if (!training_data_ || !training_data_->shapes) return;
    std::set<std::filesystem::path> folders;
    for (const auto& data : {training_data_, validation_data_}) {
      if (!data || !data->shapes) continue;
      for (const ShardFile& file : data->shards) folders.insert(file.path.parent_path());
    }
    const std::string& empty = config_.encoder.empty_encodings_path;
    if (!empty.empty() && config_.training_pictures.classifier_free_guidance_prob > 0) folders.insert(empty);
    check_encoded_alike({folders.begin(), folders.end()});
  }

  // At the start rather than at the first validation, which may be hours later.
  void check_validation_data() {
    ShardCache cache(validation_data_->shards);
    check_files_are_whole(survey_dataset(cache, mesh_.world(), device_), validation_data_->shards,
                          validation_data_->kind->subset_size,
                          "downloading it again: the loss would be that of some of the samples");
    if (config_.validation_pictures.all_timesteps) return;
    if (validation_data_->kind->needs_timesteps) {
      check_first_timestep(cache, *make_decoder(validation_options()));
    } else if (has_timesteps(cache)) {
      validation_timesteps_ =
          TimestepUse::kRequired;  // one that cannot be read is then a sample's fault, not the set's
    }
  }

  int64_t downscale() const {
    return front_end_.codec ? front_end_.codec->downscale()
                            : config_.training_pictures.img_size / shapes()->latent_rows;
  }
  int64_t tokens_per_sample() const {
    const int64_t patches = config_.training_pictures.img_size / (downscale() * patch_size(config_));
    return patches * patches + config_.encoder.max_t5_encoding_len;
  }

  FluxBatchesOptions batches_options(const FluxDataset& data) const {
    FluxBatchesOptions options;
    options.loader.shards = data.shards;
    options.loader.subset_size = data.kind->subset_size;
    options.loader.rank = mesh_.data_rank();
    options.loader.world_size = mesh_.data_size();
    options.loader.seed = objective_.seed;
    options.loader.bad_samples.max_fraction = config_.training.max_bad_samples;
    options.loader.num_workers = static_cast<int>(config_.training.num_workers);
    options.shapes = data.shapes;
    options.pictures.transform.size = static_cast<int>(config_.training_pictures.img_size);
    options.pictures.skip_small = !data.kind->needs_timesteps;  // as the reference, which counts on every one of COCO's
    options.seed = objective_.seed;
    options.device = device_;
    return options;
  }
  FluxBatchesOptions validation_options() const {
    FluxBatchesOptions options = batches_options(*validation_data_);
    options.loader.shuffle = false;
    options.loader.epochs = 1;
    options.loader.allow_damaged_shards = false;  // the loss would be that of some of the samples
    options.timesteps = validation_timesteps_;
    return options;
  }
  FluxBatchesOptions training_options() const {
    FluxBatchesOptions options = batches_options(*training_data_);
    const TrainingConfig& training = config_.training;
    if (training.subset_size) options.loader.subset_size = *training.subset_size;
    options.loader.batch_size = training.local_batch_size * mesh_.data_size();
    options.loader.shuffle = training.shuffle_buffer_size > 0;
    options.loader.shuffle_buffer_size = std::max<int64_t>(training.shuffle_buffer_size, 1);
    options.prompt_dropout = config_.training_pictures.classifier_free_guidance_prob;
    return options;
  }

  // whole: all adapters, one after the other as in their layout.
  void write_lora_file(const std::filesystem::path& path, int64_t step, const torch::Tensor& whole) {
    const LoraConfig& lora = *config_.lora();
    TensorMap ours;
    for (const ParameterSlice& slice : trainee_->parameters().slices()) {
      ours[slice.name] = FlatParameters::view(whole, slice);
    }
    const std::vector<AdapterTensors> adapters = configured_adapters(lora, ours);
    write_lora_result(path, adapters, config_, sizes_, dtype_,
                      {.step = step, .epoch = 0, .started_at = started_at_, .now = unix_seconds()});
    const bool is_zero = std::all_of(adapters.begin(), adapters.end(),
                                     [](const AdapterTensors& adapter) { return is_without_effect(adapter); });
    if (is_zero) {
      log_warning("[lora] expected up matrices that have learnt something, got zeros alone after step ", step,
                  ": the adapters change nothing (try a larger optimizer.lr)");
    }
  }

  void draw_prompts(int64_t step, const std::filesystem::path& folder) {
    if (can_draw()) draw_grid(prompts_, step, folder);
  }

  void draw_validation_captions(int64_t step, const std::filesystem::path& folder) {
    if (validation_data_->shapes) {
      if (!std::exchange(warned_no_captions_, true)) {
        log_warning("[validation.save_img_folder] has no effect: encoded validation data has no captions");
      }
      return;
    }
    if (!can_draw()) return;
    if (validation_captions_.empty()) validation_captions_ = first_validation_captions();
    draw_grid(validation_captions_, step, folder);
  }

  bool can_draw() {
    const std::string missing = missing_for_drawing(config_);
    if (missing.empty()) return true;
    if (!std::exchange(warned_missing_, true)) {
      log_info("no sample pictures are drawn: that needs ", missing, ", which is not set");
    }
    return false;
  }

  // The same on every rank, which reads them by itself.
  std::vector<std::string> first_validation_captions() const {
    FluxBatchesOptions data = validation_options();
    data.loader.batch_size = 1;  // their pictures are decoded, too, and should not take much memory
    data.loader.rank = 0;
    data.loader.world_size = 1;
    data.loader.prefetch_batches = 0;
    SampleLoader loader(data.loader, make_decoder(data));
    std::vector<std::string> captions;
    while (static_cast<int64_t>(captions.size()) < config_.validation_pictures.save_img_count) {
      const SampleBatch sample = loader.next();
      if (sample.end_of_data) break;
      captions.insert(captions.end(), sample.captions.begin(), sample.captions.end());
    }
    return captions;
  }

  void draw_grid(const std::vector<std::string>& prompts, int64_t step, const std::filesystem::path& folder) {
    if (prompts.empty()) return;
    MILLRACE_CHECK(front_end_.can_draw());
    const DrawOptions options = draw_options(config_, sizes_);
    std::vector<Image> own;
    draw_pictures(*trainee_, front_end_.encoders, *front_end_.codec, prompts, options, mesh_.data(),
                  [&](int64_t, Image picture) { own.push_back(std::move(picture)); });
    const std::vector<Image> pictures =
        gather_pictures(own, static_cast<int64_t>(prompts.size()), options, mesh_.data(), device_);
    if (mesh_.world().rank() != 0) return;
    const Image grid = picture_grid(pictures, prompts, config_.sample.grid_columns);
    create_folders(folder);
    char name[32];
    std::snprintf(name, sizeof name, "step-%08lld.png", static_cast<long long>(step));
    write_file_atomically(folder / name, encode_picture(grid, join(prompts, "\n"), {config_.model.flavor, ""}));
  }

  std::unique_ptr<RunConfig> owned_config_;
  const FluxRunConfig& config_;
  Mesh& mesh_;
  FluxObjective objective_;
  torch::Device device_;
  torch::Dtype dtype_;
  Keep keep_;
  std::vector<std::string> prompts_;
  std::optional<FluxDataset> training_data_, validation_data_;
  FluxFrontEnd front_end_;
  flux::FluxConfig sizes_;
  std::unique_ptr<FluxBatches> training_;
  std::optional<FluxBatch> batch_;  // the microbatch at hand
  TimestepUse validation_timesteps_ = TimestepUse::kUnused;
  bool warned_missing_ = false, warned_no_captions_ = false;
  std::vector<std::string> validation_captions_;  // of its pictures; empty: not read yet
  std::unique_ptr<FluxTrainee> trainee_;
  double started_at_ = unix_seconds();
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
