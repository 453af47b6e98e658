#include "tasks/flux_pretrain/flux_pretrain_task.h"

#include <algorithm>
#include <cstdio>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "data/image_text_loader.h"
#include "diffusion/flow_matching.h"
#include "diffusion/latents.h"
#include "diffusion/pictures.h"
#include "images/encode.h"
#include "metrics/flops.h"
#include "models/flux/weight_names.h"
#include "models/model_table.h"
#include "nn/device.h"
#include "tasks/flux_pretrain/flux_setup.h"

namespace millrace {
namespace {

constexpr int64_t kValidationTimesteps = 8;  // t = 0, 1/8 ... 7/8, as MLPerf validates

flux::Keep keep_of(const std::string& mode) {
  if (mode == "none") return flux::Keep::kAll;
  return mode == "full" ? flux::Keep::kInputs : flux::Keep::kOutputs;
}

std::vector<std::string> sample_prompts(const SampleConfig& sample) {
  if (sample.prompts_file.empty()) return sample.prompts;
  std::vector<std::string> prompts;
  for (const std::string& line : split(read_file(sample.prompts_file, 1 << 24), '\n')) {
    if (!trim(line).empty()) prompts.emplace_back(trim(line));
  }
  return prompts;
}

class FluxPretrainTask : public Task {
 public:
  explicit FluxPretrainTask(const RunConfig& config)
      : config_(config),
        seed_(static_cast<uint64_t>(config.training.seed.value_or(0))),
        device_(resolve_device(config.training.device)),
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
    loader_ = std::make_unique<ImageTextLoader>(loader_options(config_.training.dataset_path, "training.dataset_path"));
    encoders_ = make_caption_encoders(config_, sizes_, dtype_, device_);
    const bool without_masters = config_.training.dtype == "bfloat16";
    if (without_masters && dtype_ != torch::kBFloat16) {
      throw ConfigError(
          "[training.mixed_precision_param] expected bfloat16 with weights kept in bfloat16 alone, got float32");
    }
    model_ = std::make_shared<flux::Flux>(sizes_,
                                          FlatParametersOptions{dtype_, device_, /*training=*/true, without_masters});
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
    const ImageTextBatch batch = loader_->next();
    result.data_seconds = now_seconds() - begin;
    const int64_t rows = batch.image_BCHW.size(0);
    flux::Flux::Saved saved;
    const Prediction prediction = predict(batch.image_BCHW, with_dropout(batch), batch.sample_ids, batch.epochs,
                                          draw_timesteps(seed_, batch.epochs, batch.sample_ids, device_), &saved);
    const VelocityLoss loss = velocity_loss(prediction.velocity_BIC, prediction.target_BIC,
                                            1.0 / static_cast<double>(rows * num_microbatches));
    model_->backward(saved, loss.dprediction);
    result.loss = loss.per_sample_B.mean().item<double>() / num_microbatches;
    result.num_samples = rows;
    result.num_tokens = rows * tokens_per_sample();
    result.sample_ids = batch.sample_ids;
    return result;
  }

  std::optional<double> validate() override {
    const ValidationConfig& validation = config_.validation;
    if (!validation.enable) return std::nullopt;
    ImageTextLoaderOptions options = loader_options(validation.dataset_path, "validation.dataset_path");
    options.batch_size = validation.local_batch_size;
    options.shuffle = false;
    options.epochs = 1;
    ImageTextLoader loader(options);
    double sum = 0;
    int64_t count = 0, index = 0;
    for (int64_t step = 0; validation.steps < 0 || step < validation.steps; ++step) {
      const ImageTextBatch batch = loader.next();
      if (batch.end_of_data) break;
      const int64_t rows = batch.image_BCHW.size(0);
      for (int64_t pass = 0; pass < (validation.all_timesteps ? kValidationTimesteps : 1); ++pass) {
        torch::Tensor t_B = torch::empty({rows}, torch::kFloat32);
        for (int64_t b = 0; b < rows; ++b) {
          const int64_t step_of_8 = validation.all_timesteps ? pass : (index + b) % kValidationTimesteps;
          t_B[b] = static_cast<double>(step_of_8) / kValidationTimesteps;
        }
        const Prediction prediction =
            predict(batch.image_BCHW, batch.captions, batch.sample_ids, batch.epochs, t_B.to(device_), nullptr);
        const VelocityLoss loss = velocity_loss(prediction.velocity_BIC, prediction.target_BIC, 1);
        sum += loss.per_sample_B.to(torch::kFloat64).sum().item<double>();
        count += rows;
      }
      index += rows;
    }
    if (count == 0) {
      throw DataError("[" + validation.dataset_path + "] expected samples to validate on, got none");
    }
    return sum / static_cast<double>(count);
  }

  bool sample(int64_t step, const std::filesystem::path& folder) override {
    if (prompts_.empty()) return false;
    DrawOptions options;
    options.img_size = config_.sample.img_size > 0 ? config_.sample.img_size : config_.training.img_size;
    options.patch_size = patch_size(config_);
    options.denoising_steps = config_.sample.denoising_steps;
    options.guidance_scale = config_.sample.guidance_scale;
    options.seed = static_cast<uint64_t>(config_.sample.seed);
    const Image grid = picture_grid(draw_pictures(*model_, encoders_, *codec_, prompts_, options), prompts_,
                                    config_.sample.grid_columns);
    create_folders(folder);
    char name[32];
    std::snprintf(name, sizeof name, "step-%08lld.png", static_cast<long long>(step));
    write_file_atomically(folder / name, encode_png(grid));
    return true;
  }

  std::string data_position() const override { return loader_->position(); }
  void restore_data_position(const std::string& position) override { loader_->restore(position); }

  double flops_per_sample() const override {
    return flux_train_flops_per_sample({sizes_.hidden_size, sizes_.depth, sizes_.depth_single_blocks, sizes_.mlp_ratio,
                                        tokens_per_sample() - config_.encoder.max_t5_encoding_len,
                                        config_.encoder.max_t5_encoding_len});
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
    options.batch_size = config_.training.local_batch_size;
    options.seed = seed_;
    options.shuffle = config_.training.shuffle_buffer_size > 0;
    options.shuffle_buffer_size = std::max<int64_t>(config_.training.shuffle_buffer_size, 1);
    options.transform.size = static_cast<int>(config_.training.img_size);
    options.bad_samples.max_fraction = config_.training.max_bad_samples;
    options.num_workers = static_cast<int>(config_.training.num_workers);
    return options;
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
    const TensorMap tensors =
        import_weights("FLUX", shapes_of(*model_), weights.store(), flux::weight_rules(sizes_, weights.naming()));
    model_->flat_parameters().assign(tensors);
    log_info("weights: ", config_.checkpoint.initial_load_path, " (", naming_name(weights.naming()), " naming)");
  }

  RunConfig config_;
  uint64_t seed_;
  torch::Device device_;
  torch::Dtype dtype_;
  std::unique_ptr<PictureCodec> codec_;
  flux::FluxConfig sizes_;
  flux::Keep keep_;
  std::vector<std::string> prompts_;
  std::unique_ptr<ImageTextLoader> loader_;
  CaptionEncoders encoders_;
  std::shared_ptr<flux::Flux> model_;
};

}  // namespace

std::unique_ptr<Task> make_flux_pretrain_task(const RunConfig& config) {
  return std::make_unique<FluxPretrainTask>(config);
}

}  // namespace millrace
