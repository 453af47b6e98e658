#include "tasks/flux_pretrain/flux_pretrain_task.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "data/image_text_loader.h"
#include "diffusion/flow_matching.h"
#include "diffusion/latents.h"
#include "diffusion/pictures.h"
#include "metrics/flops.h"
#include "models/flux/weight_names.h"
#include "models/model_table.h"
#include "tasks/flux_pretrain/flux_drawing.h"
#include "tasks/flux_pretrain/flux_setup.h"
#include "train/sample_digest.h"
#include "train/weight_fingerprint.h"

namespace millrace {
namespace {

constexpr int64_t kValidationTimesteps = 8;  // t = 0, 1/8 ... 7/8, as MLPerf validates

flux::Keep keep_of(const std::string& mode) {
  if (mode == "none") return flux::Keep::kAll;
  return mode == "full" ? flux::Keep::kInputs : flux::Keep::kOutputs;
}

std::vector<std::string> sample_prompts(const SampleConfig& sample) {
  if (sample.every_steps == 0) return {};  // what only `millrace sample` draws need not be there
  if (sample.prompts_file.empty()) return sample.prompts;
  std::vector<std::string> prompts;
  for (const std::string& line : split(read_file(sample.prompts_file, 1 << 24), '\n')) {
    if (!trim(line).empty()) prompts.emplace_back(trim(line));
  }
  return prompts;
}

class FluxPretrainTask : public Task {
 public:
  FluxPretrainTask(const RunConfig& config, Mesh& mesh, torch::Device device)
      : config_(config),
        mesh_(mesh),
        seed_(static_cast<uint64_t>(config.training.seed.value_or(0))),
        device_(device),
        dtype_(compute_dtype(config, device_)),
        codec_(make_picture_codec(config, dtype_, device_)),
        sizes_(flux_config(config, codec_->channels())),
        keep_(keep_of(config.activation_checkpoint.mode)),
        prompts_(sample_prompts(config.sample)) {
    const int64_t multiple = codec_->downscale() * patch_size(config_);
    if (config_.training.img_size % multiple != 0) {
      throw ConfigError(str("[training.img_size] expected a multiple of ", multiple,
                            " (patch_size x the autoencoder's ", codec_->downscale(), "), got ",
                            config_.training.img_size));
    }
    ImageTextLoaderOptions data = loader_options(config_.training.dataset_path, "training.dataset_path");
    data.batch_size = config_.training.local_batch_size * mesh_.data_size();
    loader_ = std::make_unique<ImageTextLoader>(data);
    encoders_ = make_caption_encoders(config_, sizes_, dtype_, device_);
    const bool without_masters = config_.training.dtype == "bfloat16";
    if (without_masters && dtype_ != torch::kBFloat16) {
      throw ConfigError(
          "[training.mixed_precision_param] expected bfloat16 with weights kept in bfloat16 alone, got float32");
    }
    FlatParametersOptions placement;
    placement.compute_dtype = dtype_;
    placement.device = device_;
    placement.training = true;
    placement.without_masters = without_masters;
    placement.mesh = &mesh_;
    placement.reduce_dtype = config_.training.mixed_precision_reduce == "bfloat16" ? torch::kBFloat16 : torch::kFloat32;
    const std::string& reshard = config_.parallelism.fsdp_reshard_after_forward;
    placement.reshard = reshard == "always"  ? Reshard::kAlways
                        : reshard == "never" ? Reshard::kNever
                                             : Reshard::kDefault;
    model_ = std::make_shared<flux::Flux>(sizes_, placement);
    if (config_.checkpoint.initial_load_path.empty()) {
      model_->initialize(seed_);
    } else {
      load_initial_weights();
    }
  }

  FlatParameters& parameters() override { return model_->flat_parameters(); }

  MicrobatchResult train_microbatch(int num_microbatches) override {
    MicrobatchResult result;
    const double begin = now_seconds();
    ImageTextBatch batch = loader_->next();
    result.data_seconds = now_seconds() - begin;
    batch_arrived();
    const auto rows = static_cast<int64_t>(batch.sample_ids.size());
    result.num_samples = rows;
    result.num_tokens = rows * tokens_per_sample();
    result.sample_digest = sample_digest(batch.epochs, batch.sample_ids);
    const double weight = rows == 0 ? 0 : 1.0 / static_cast<double>(batch.global_rows * num_microbatches);
    if (rows == 0) stand_in(batch);
    flux::Flux::Saved saved;
    const Prediction prediction = predict(batch.image_BCHW, with_dropout(batch), batch.sample_ids, batch.epochs,
                                          draw_timesteps(seed_, batch.epochs, batch.sample_ids, device_), &saved);
    const VelocityLoss loss = velocity_loss(prediction.velocity_BIC, prediction.target_BIC, weight);
    model_->backward(saved, loss.dprediction);
    result.loss_1 = sum_of(loss.per_sample_B, rows) * weight;
    return result;
  }

  std::optional<ValidationResult> validate() override {
    const ValidationConfig& validation = config_.validation;
    if (!validation.enable) return std::nullopt;
    ImageTextLoaderOptions options = loader_options(validation.dataset_path, "validation.dataset_path");
    options.batch_size = validation.local_batch_size * mesh_.data_size();
    options.shuffle = false;
    options.epochs = 1;
    ImageTextLoader loader(options);
    // The sum of the losses and their number: every sample counts once, however many there are to a batch or rank.
    torch::Tensor totals_2 = torch::zeros({2}, torch::dtype(torch::kFloat64).device(device_));
    int64_t index = 0;
    for (int64_t step = 0; validation.steps < 0 || step < validation.steps; ++step) {
      ImageTextBatch batch = loader.next();
      if (batch.end_of_data) break;
      const auto rows = static_cast<int64_t>(batch.sample_ids.size());
      if (rows == 0) stand_in(batch);  // the other ranks have rows left, and the model's weights are everybody's
      for (int64_t pass = 0; pass < (validation.all_timesteps ? kValidationTimesteps : 1); ++pass) {
        std::vector<float> t;
        for (const int64_t row : batch.rows) {
          const int64_t step_of_8 = validation.all_timesteps ? pass : (index + row) % kValidationTimesteps;
          t.push_back(static_cast<float>(step_of_8) / kValidationTimesteps);
        }
        const Prediction prediction = predict(batch.image_BCHW, batch.captions, batch.sample_ids, batch.epochs,
                                              torch::tensor(t, torch::kFloat32).to(device_), nullptr);
        const VelocityLoss loss = velocity_loss(prediction.velocity_BIC, prediction.target_BIC, 1);
        totals_2.narrow(0, 0, 1).add_(sum_of(loss.per_sample_B, rows));
        totals_2.narrow(0, 1, 1).add_(static_cast<double>(rows));
      }
      index += batch.global_rows;
    }
    mesh_.data().all_reduce(totals_2).wait();
    const torch::Tensor totals = totals_2.cpu();
    const double sum = totals[0].item<double>(), count = totals[1].item<double>();
    if (count == 0) {
      throw DataError("[" + validation.dataset_path + "] expected samples to validate on, got none");
    }
    return ValidationResult{sum / count, static_cast<int64_t>(count), {}};
  }

  bool sample(int64_t step, const std::filesystem::path& folder) override {
    if (const std::string missing = missing_for_drawing(config_); !missing.empty()) {
      if (!std::exchange(said_what_is_missing_, true)) {
        log_info("no sample pictures are drawn: that needs ", missing, ", which is not set");
      }
      return false;
    }
    if (prompts_.empty()) return false;
    const DrawOptions options = draw_options(config_, sizes_);
    std::vector<Image> own;
    draw_pictures(*model_, encoders_, *codec_, prompts_, options, mesh_.data(),
                  [&](int64_t, Image picture) { own.push_back(std::move(picture)); });
    const std::vector<Image> pictures =
        gather_pictures(own, static_cast<int64_t>(prompts_.size()), options, mesh_.data(), device_);
    if (mesh_.world().rank() != 0) return true;
    const Image grid = picture_grid(pictures, prompts_, config_.sample.grid_columns);
    create_folders(folder);
    char name[32];
    std::snprintf(name, sizeof name, "step-%08lld.png", static_cast<long long>(step));
    write_file_atomically(folder / name, encode_picture(grid, join(prompts_, "\n"), {config_.model.flavor, ""}));
    return true;
  }

  std::string data_position() const override { return loader_->position(); }
  void restore_data_position(const std::string& position) override { loader_->restore(position); }

  double flops_per_sample() const override {
    return flux_train_flops_per_sample({sizes_.hidden_size, sizes_.depth, sizes_.depth_single_blocks, sizes_.mlp_ratio,
                                        tokens_per_sample() - config_.encoder.max_t5_encoding_len,
                                        config_.encoder.max_t5_encoding_len});
  }

  uint64_t weights_fingerprint() const override {
    std::vector<uint64_t> sums;
    for (const std::string& path :
         {config_.checkpoint.initial_load_path, config_.encoder.t5_encoder, config_.encoder.clip_encoder,
          config_.encoder.autoencoder_path == "none" ? std::string() : config_.encoder.autoencoder_path}) {
      const bool is_file = !path.empty() && path != "random";
      sums.push_back(is_file ? weight_fingerprint(WeightStore(path)) : 0);
    }
    return checksum64(sums.data(), sums.size() * sizeof(uint64_t));
  }

  std::vector<std::string> describe() const override {
    return {
        str("FLUX: ", with_thousands(model_->flat_parameters().num_parameters()), " parameters, hidden size ",
            sizes_.hidden_size, ", ", sizes_.num_heads, " heads, ", sizes_.depth, " double and ",
            sizes_.depth_single_blocks, " single blocks, ", dtype_ == torch::kBFloat16 ? "bfloat16" : "float32", " on ",
            device_.str()),
        str("data: ", config_.training.dataset_path, ", ", config_.training.img_size, " x ", config_.training.img_size,
            " pixels, ", tokens_per_sample(), " tokens per sample"),
    };
  }

 private:
  struct Prediction {
    torch::Tensor velocity_BIC, target_BIC;
  };

  int64_t tokens_per_sample() const {
    const int64_t patches = config_.training.img_size / (codec_->downscale() * patch_size(config_));
    return patches * patches + config_.encoder.max_t5_encoding_len;
  }

  ImageTextLoaderOptions loader_options(const std::string& path, const char* key) const {
    if (path.empty()) throw ConfigError(str("[", key, "] expected tar files to read pictures from, got nothing"));
    ImageTextLoaderOptions options;
    options.shards = {path};
    options.rank = mesh_.data_rank();
    options.world_size = mesh_.data_size();
    options.seed = seed_;
    options.shuffle = config_.training.shuffle_buffer_size > 0;
    options.shuffle_buffer_size = std::max<int64_t>(config_.training.shuffle_buffer_size, 1);
    options.transform.size = static_cast<int>(config_.training.img_size);
    options.bad_samples.max_fraction = config_.training.max_bad_samples;
    options.num_workers = static_cast<int>(config_.training.num_workers);
    return options;
  }

  // A row that counts for nothing, for a rank that has none: all ranks run the model equally often.
  void stand_in(ImageTextBatch& batch) const {
    const int64_t side = config_.training.img_size;
    batch.image_BCHW = torch::zeros({1, 3, side, side});
    batch.captions = {""};
    batch.keys = {""};
    batch.sample_ids = {0};
    batch.epochs = {0};
    batch.rows = {0};
  }
  // fp64, one element, on the device.
  torch::Tensor sum_of(const torch::Tensor& per_sample_B, int64_t rows) const {
    return per_sample_B.narrow(0, 0, rows).sum(torch::kFloat64).view({1});
  }

  // Both encodings of a dropped caption are those of the empty one.
  std::vector<std::string> with_dropout(const ImageTextBatch& batch) const {
    std::vector<std::string> captions = batch.captions;
    const double probability = config_.training.classifier_free_guidance_prob;
    const auto streams = sample_streams(seed_, RandomPurpose::kPromptDropout, batch.epochs, batch.sample_ids);
    for (size_t i = 0; i < captions.size(); ++i) {
      if (random_uniform(streams[i], 0) < probability) captions[i].clear();
    }
    return captions;
  }

  Prediction predict(const torch::Tensor& image_BCHW, const std::vector<std::string>& captions,
                     const std::vector<uint64_t>& sample_ids, const std::vector<uint32_t>& epochs,
                     const torch::Tensor& t_B, flux::Flux::Saved* saved) {
    const torch::Tensor x0 =
        codec_->encode(image_BCHW.to(device_), sample_streams(seed_, RandomPurpose::kPosterior, epochs, sample_ids));
    const torch::Tensor noise = draw_noise(seed_, RandomPurpose::kNoise, epochs, sample_ids, x0);
    const int64_t patch = patch_size(config_);
    flux::FluxInputs inputs;
    inputs.img_BIC = pack_patches(interpolate(x0, noise, t_B), patch);
    inputs.img_ids_BIA = image_ids(x0.size(2) / patch, x0.size(3) / patch, device_);
    inputs.txt_BTX = encoders_.tokens->encode(captions);
    inputs.txt_ids_BTA = text_ids(inputs.txt_BTX.size(1), device_);
    inputs.timesteps_B = t_B;
    inputs.y_BV = encoders_.pooled->encode(captions);
    // FLUX.1-dev's distilled guidance is an input like any other; 1 is what an undistilled model stands for.
    if (sizes_.guidance_embed) inputs.guidance_B = torch::ones_like(t_B);
    return {model_->forward(inputs, saved, keep_), pack_patches(noise - x0, patch)};
  }

  void load_initial_weights() {
    const ModelWeights weights(find_model("flux"), config_.checkpoint.initial_load_path);
    const TensorMap tensors = import_weights("FLUX", model_->flat_parameters().shapes(), weights.store(),
                                             flux::weight_rules(sizes_, weights.naming()));
    model_->flat_parameters().assign(tensors);
    log_info("weights: ", config_.checkpoint.initial_load_path, " (", naming_name(weights.naming()), " naming)");
  }

  RunConfig config_;
  Mesh& mesh_;
  uint64_t seed_;
  torch::Device device_;
  torch::Dtype dtype_;
  std::unique_ptr<PictureCodec> codec_;
  flux::FluxConfig sizes_;
  flux::Keep keep_;
  std::vector<std::string> prompts_;
  bool said_what_is_missing_ = false;
  std::unique_ptr<ImageTextLoader> loader_;
  CaptionEncoders encoders_;
  std::shared_ptr<flux::Flux> model_;
};

}  // namespace

std::unique_ptr<Task> make_flux_pretrain_task(const RunConfig& config, Mesh& mesh, torch::Device device) {
  return std::make_unique<FluxPretrainTask>(config, mesh, device);
}

}  // namespace millrace
