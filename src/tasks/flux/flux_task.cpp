#include "tasks/flux/flux_task.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "adapters/configured_adapter.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/optimizer_rules.h"
#include "diffusion/flux_batch.h"
#include "diffusion/flux_front_end.h"
#include "diffusion/flux_objective.h"
#include "diffusion/flux_setup.h"
#include "diffusion/flux_trainee.h"
#include "formats/weight_fingerprint.h"
#include "metrics/epoch_average.h"
#include "models/flux/entry.h"
#include "models/flux/flops.h"
#include "nn/quantised_weight.h"
#include "parallel/configured_placement.h"
#include "tasks/earlier_checkpoint.h"
#include "tasks/flux/flux_previews.h"
#include "tasks/flux/flux_task_data.h"
#include "tasks/flux/flux_validation.h"
#include "tasks/flux_lora/flux_lora_config.h"
#include "tasks/flux_lora/flux_lora_results.h"

namespace millrace {
namespace {

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
        previews_(as_flux(*owned_config_), mesh, purpose),
        data_(as_flux(*owned_config_), mesh, device, purpose) {
    if (purpose == TaskPurpose::kTrain) forget_start_if_resumed();
    const bool networks = data_.needs_networks() || previews_.needs_networks();
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
    placement.maps_weights = config_.lora() != nullptr;
    trainee_ = make_flux_trainee(config_, sizes_, placement,
                                 placement.training ? std::optional(objective_.seed) : std::nullopt,
                                 networks ? &front_end_.encoders : nullptr);
    if (trainee_->is_adapter()) {
      results_.emplace(config_, sizes_, dtype_, *trainee_, mesh_, [this] { return data_.facts(); });
    }
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
    if (results_) results_->before_microbatch();
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

  bool previews_due(const PreviewMoment& moment) const override { return previews_.due(moment, steps_per_epoch_); }
  void preview(const PreviewMoment& moment, const std::filesystem::path& run_folder) override {
    previews_.draw(moment, steps_per_epoch_, {*trainee_, front_end_, sizes_}, data_, run_folder);
  }

  // The adapters as other programs read them, in the dtype that the run computes in.
  bool writes_result() const override { return results_.has_value(); }
  Files write_result(int64_t step, const std::filesystem::path& run_folder) override {
    return results_->write(step, epoch_ + (step == config_.training.steps ? 1 : 0), run_folder);
  }
  bool keeps_result(int64_t step, bool last) const override { return results_ && results_->keeps(moment(step, last)); }
  Files keep_result(int64_t step, bool last, const std::filesystem::path& run_folder) override {
    return results_->keep(moment(step, last), run_folder);
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

  KohyaMoment moment(int64_t step, bool last) const { return {step, epoch_, steps_per_epoch_, last}; }

  std::unique_ptr<RunConfig> owned_config_;
  const FluxRunConfig& config_;
  Mesh& mesh_;
  FluxObjective objective_;
  torch::Device device_;
  torch::Dtype dtype_;
  Keep keep_;
  FluxPreviews previews_;
  FluxTaskData data_;
  FluxFrontEnd front_end_;
  flux::FluxConfig sizes_;
  std::unique_ptr<FluxBatchSource> training_;
  std::optional<FluxBatch> batch_;  // the microbatch at hand
  std::unique_ptr<FluxTrainee> trainee_;
  std::optional<FluxLoraResults> results_;  // of adapters
  int64_t epoch_ = 0;                       // of the samples trained on last
  int64_t steps_per_epoch_ = 0;             // 0: unknown
  EpochAverage losses_;
  std::optional<double> gradient_norm_;  // of the step, if it is logged
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
