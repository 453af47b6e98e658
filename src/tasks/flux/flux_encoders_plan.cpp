#include "tasks/flux/flux_encoders_plan.h"

#include <torch/nn/module.h>
#include <torch/types.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "diffusion/flux_trainee.h"
#include "models/autoencoder/model.h"
#include "models/clip/model.h"
#include "models/model_table.h"
#include "models/t5/model.h"
#include "parallel/flat_model.h"

namespace millrace {
namespace {

constexpr int64_t kClipTokens = 77;

const auto kShapes = torch::TensorOptions().device(torch::kMeta);

// The network at a path, without its weights; the published one if there is none.
template <typename Model, typename Config>
std::shared_ptr<Model> shapes_of_network(const char* name, const std::string& path, const char* published,
                                         std::vector<std::string>& notes) {
  if (std::filesystem::exists(path)) {
    const auto model =
        std::dynamic_pointer_cast<Model>(ModelWeights(find_model(name), path).model().build(on_one_device(kShapes)));
    MILLRACE_CHECK(model != nullptr);
    return model;
  }
  notes.push_back(str(path.empty() || path == kRandomNetwork ? str(name) : path, " is assumed to be ", published));
  return std::make_shared<Model>(Config{}, kShapes);
}

int64_t count_parameters(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const torch::Tensor& parameter : module.parameters()) count += parameter.numel();
  return count;
}

SharableWeights sharable_weights(const FlatModel& model) {
  SharableWeights weights{count_parameters(model), 0};
  for (const ParameterUnit& unit : model.flat_parameters().units()) {
    weights.largest_block = std::max(weights.largest_block, unit.size);
  }
  return weights;
}

// Weights that every token is multiplied with: all matrices except tables.
double matrix_parameters(const torch::nn::Module& module) {
  double count = 0;
  for (const auto& item : module.named_parameters()) {
    const std::string& name = item.key();
    const bool table = starts_with(name, "shared.") || name.find("embedding") != std::string::npos ||
                       name.find("relative_attention_bias") != std::string::npos;
    if (item.value().dim() == 2 && !table) count += static_cast<double>(item.value().numel());
  }
  return count;
}

// Forward alone, or forward, forward again and the inputs' gradients, each as much.
double passes_of(bool is_trained) {
  return is_trained ? 3 : 1;
}

void add_t5(const FluxRunConfig& config, EncodersPlan& plan) {
  const auto model = shapes_of_network<t5::T5Encoder, t5::T5Config>("t5", config.encoder.t5_encoder,
                                                                    "T5 v1.1 XXL (4.76 billion weights)", plan.notes);
  const t5::T5Config& sizes = model->config();
  const int64_t tokens = config.encoder.max_t5_encoding_len;
  const auto length = static_cast<double>(tokens);
  plan.t5 = sharable_weights(*model);
  plan.parameters += plan.t5.parameters;
  plan.flops_per_sample +=
      passes_of(config.trains_t5xxl()) *
      (2 * matrix_parameters(*model) * length +
       4 * length * length * static_cast<double>(sizes.num_heads * sizes.d_kv) * static_cast<double>(sizes.num_layers));
  // Both halves of the gated MLP and their product, and the residual stream.
  plan.activations_per_sample = std::max(plan.activations_per_sample, tokens * (3 * sizes.d_ff + 2 * sizes.d_model));
}

void add_clip(const FluxRunConfig& config, EncodersPlan& plan) {
  const auto model = shapes_of_network<clip::Clip, clip::ClipConfig>("clip", config.encoder.clip_encoder,
                                                                     "CLIP ViT-L/14's text model", plan.notes);
  plan.clip = sharable_weights(*model);
  plan.parameters += plan.clip.parameters;
  plan.flops_per_sample +=
      passes_of(config.trains_clip_l()) * 2 * matrix_parameters(*model) * static_cast<double>(kClipTokens);
}

void add_autoencoder(const FluxRunConfig& config, EncodersPlan& plan) {
  const auto model = shapes_of_network<autoencoder::Autoencoder, autoencoder::AutoencoderConfig>(
      "autoencoder", config.encoder.autoencoder_path, "FLUX.1's autoencoder", plan.notes);
  const autoencoder::AutoencoderConfig& sizes = model->config();
  plan.latent_channels = sizes.latent_channels;
  plan.downscale = sizes.downscale();
  plan.parameters += count_parameters(*model);
  // Each convolution of the encoder, at the resolution of its level.
  const auto side = static_cast<double>(config.training_pictures.img_size);
  for (const auto& item : model->named_parameters()) {
    const std::string& name = item.key();
    if (!starts_with(name, "encoder.") || item.value().dim() != 4) continue;
    int64_t level = name.find(".down.") != std::string::npos    ? std::stoll(name.substr(name.find(".down.") + 6))
                    : name.find("conv_in") != std::string::npos ? 0
                                                                : sizes.levels() - 1;
    if (name.find("downsample") != std::string::npos) ++level;  // its output is half as wide
    const double pixels = side / static_cast<double>(int64_t{1} << level);
    plan.flops_per_sample += 2 * static_cast<double>(item.value().numel()) * pixels * pixels;
  }
  // At full resolution: a block's input, its norm, its SiLU and its convolution.
  plan.activations_per_sample =
      std::max(plan.activations_per_sample, 4 * sizes.block_out_channels.front() * config.training_pictures.img_size *
                                                config.training_pictures.img_size);
}

// Layers to put adapters on.
class ShapesOfEncoder : public TrainableEncoder {
 public:
  explicit ShapesOfEncoder(std::shared_ptr<FlatModel> model) : model_(std::move(model)) {}
  FlatModel& model() override { return *model_; }
  torch::Tensor forward(const std::vector<std::string>&) override { throw LogicError("a planned encoder runs"); }
  void backward(const torch::Tensor&) override { throw LogicError("a planned encoder runs"); }
  void set_trained(EncoderAdapters) override {}

 private:
  std::shared_ptr<FlatModel> model_;
};

}  // namespace

PlannedEncoders::PlannedEncoders(const FluxRunConfig& config) {
  std::vector<std::string> noted;  // by plan_encoders()
  if (config.trains_clip_l()) {
    clip_ = std::make_unique<ShapesOfEncoder>(
        shapes_of_network<clip::Clip, clip::ClipConfig>("clip", config.encoder.clip_encoder, "", noted));
  }
  if (config.trains_t5xxl()) {
    t5_ = std::make_unique<ShapesOfEncoder>(
        shapes_of_network<t5::T5Encoder, t5::T5Config>("t5", config.encoder.t5_encoder, "", noted));
  }
}

PlannedEncoders::~PlannedEncoders() = default;

std::vector<TrainedEncoder> PlannedEncoders::trained(const FluxRunConfig& config) const {
  return trained_encoders(config, clip_.get(), t5_.get());
}

EncodersPlan plan_encoders(const FluxRunConfig& config) {
  EncodersPlan plan;
  const EncoderConfig& encoder = config.encoder;
  if (!encoder.t5_encoder.empty() && encoder.t5_encoder != kRandomNetwork) add_t5(config, plan);
  if (!encoder.clip_encoder.empty() && encoder.clip_encoder != kRandomNetwork) add_clip(config, plan);
  if (encoder.autoencoder_path.empty()) {
    const autoencoder::AutoencoderConfig published;
    plan.latent_channels = published.latent_channels;
    plan.downscale = published.downscale();
    plan.notes.emplace_back("without encoder.autoencoder_path the data is taken to be preprocessed latents");
  } else if (encoder.autoencoder_path != "none") {
    add_autoencoder(config, plan);
  }
  return plan;
}

}  // namespace millrace
