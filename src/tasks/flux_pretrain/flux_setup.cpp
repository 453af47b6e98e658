#include "tasks/flux_pretrain/flux_setup.h"

#include "base/error.h"
#include "base/log.h"
#include "diffusion/flow_matching.h"
#include "diffusion/latents.h"
#include "diffusion/sampler.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxCachedBytes = uint64_t{4} << 30;  // of text encodings, per encoder
constexpr const char* kRandom = "random";

template <typename T>
void replace_if_set(T& target, const T& value) {
  if (value != T{}) target = value;
}

}  // namespace

int64_t patch_size(const RunConfig& config) {
  return config.model.patch_size > 0 ? config.model.patch_size : 2;
}

flux::FluxConfig flux_config(const RunConfig& config, int64_t codec_channels) {
  const ModelConfig& model = config.model;
  flux::FluxConfig sizes = flux::flavor(model.flavor);
  const int64_t features = codec_channels * patch_size(config) * patch_size(config);
  if (model.in_channels > 0 && model.in_channels != features) {
    throw ConfigError(str("[model.in_channels] expected ", features, " (latent channels ", codec_channels,
                          " x patch_size squared), got ", model.in_channels));
  }
  sizes.in_channels = sizes.out_channels = features;
  replace_if_set(sizes.hidden_size, model.hidden_size);
  replace_if_set(sizes.num_heads, model.num_heads);
  // A depth of 0 means the flavor's, so that a model without one kind of block is asked for through the other's count.
  replace_if_set(sizes.depth, model.depth);
  replace_if_set(sizes.depth_single_blocks, model.depth_single_blocks);
  replace_if_set(sizes.mlp_ratio, model.mlp_ratio);
  replace_if_set(sizes.theta, model.theta);
  replace_if_set(sizes.vec_in_dim, model.vec_in_dim);
  replace_if_set(sizes.context_in_dim, model.context_in_dim);
  replace_if_set(sizes.qk_norm_eps, model.qk_norm_eps);
  if (model.guidance_embed) sizes.guidance_embed = *model.guidance_embed;
  if (!model.axes_dim.empty()) {
    sizes.axes_dim = model.axes_dim;
  } else if (sizes.num_heads > 0 && sizes.hidden_size % sizes.num_heads == 0) {
    sizes.axes_dim = flux::default_axes_dim(sizes.head_dim());
  }
  try {
    check(sizes, "model");
  } catch (const ModelError& error) {
    throw ConfigError(error.what());
  }
  return sizes;
}

torch::Dtype compute_dtype(const RunConfig& config, torch::Device device) {
  const std::string& wanted = config.training.mixed_precision_param;
  if (wanted == "float32") return torch::kFloat32;
  if (wanted == "bfloat16" || device.is_cuda()) return torch::kBFloat16;
  return __builtin_cpu_supports("avx512bf16") ? torch::kBFloat16 : torch::kFloat32;
}

std::unique_ptr<PictureCodec> make_picture_codec(const RunConfig& config, torch::Dtype dtype, torch::Device device) {
  const std::string& path = config.encoder.autoencoder_path;
  if (path == "none") return pixel_codec();
  if (path.empty()) {
    throw ConfigError(
        "[encoder.autoencoder_path] expected a file, \"random\" or \"none\" to train on pictures, got nothing");
  }
  return autoencoder_codec({path == kRandom ? std::string() : path, config.encoder.autoencoder_shift,
                            config.encoder.autoencoder_scale, dtype, device});
}

CaptionEncoders make_caption_encoders(const RunConfig& config, const flux::FluxConfig& sizes, torch::Dtype dtype,
                                      torch::Device device) {
  const EncoderConfig& encoder = config.encoder;
  for (const auto& [key, path] :
       {std::pair{"t5_encoder", encoder.t5_encoder}, {"clip_encoder", encoder.clip_encoder}}) {
    if (path.empty()) {
      throw ConfigError(str("[encoder.", key, "] expected a folder or \"random\" to encode captions, got nothing"));
    }
  }
  CaptionEncoders encoders;
  encoders.tokens = encoder.t5_encoder == kRandom
                        ? random_word_encoder(encoder.max_t5_encoding_len, sizes.context_in_dim, device)
                        : t5_caption_encoder(encoder.t5_encoder, encoder.t5_tokenizer, encoder.max_t5_encoding_len,
                                             sizes.context_in_dim, dtype, device);
  encoders.pooled = encoder.clip_encoder == kRandom ? random_pooled_encoder(sizes.vec_in_dim, device)
                                                    : clip_caption_encoder(encoder.clip_encoder, encoder.clip_tokenizer,
                                                                           sizes.vec_in_dim, dtype, device);
  if (encoder.cache_encodings != "none") {
    const std::filesystem::path folder = encoder.cache_encodings == "disk"
                                             ? std::filesystem::path(config.job.dump_folder) / "encodings"
                                             : std::filesystem::path();
    encoders.tokens = cached_caption_encoder(std::move(encoders.tokens), kMaxCachedBytes, folder);
    encoders.pooled = cached_caption_encoder(std::move(encoders.pooled), kMaxCachedBytes, folder);
  }
  return encoders;
}

torch::Tensor draw_pictures(flux::Flux& model, CaptionEncoders& encoders, PictureCodec& codec,
                            const std::vector<std::string>& prompts, const DrawOptions& options,
                            const std::function<void(double fraction)>& progress) {
  const torch::NoGradGuard no_grad;
  const int64_t multiple = codec.downscale() * options.patch_size;
  if (options.img_size < multiple || options.img_size % multiple != 0) {
    throw ConfigError(str("[img_size] expected a multiple of ", multiple, ", got ", options.img_size));
  }
  const torch::Device device = model.flat_parameters().compute().device();
  const int64_t side = options.img_size / codec.downscale(), patches = options.img_size / multiple;
  const auto total = static_cast<int64_t>(prompts.size());
  SamplerOptions sampler;
  sampler.times = sampling_times(options.denoising_steps,
                                 options.shift_times ? std::optional<int64_t>(patches * patches) : std::nullopt);
  sampler.guidance_scale = options.guidance_scale;

  std::vector<torch::Tensor> pictures;
  for (int64_t begin = 0; begin < total; begin += options.batch_size) {
    const int64_t count = std::min(options.batch_size, total - begin);
    const std::vector<std::string> batch(prompts.begin() + begin, prompts.begin() + begin + count);
    std::vector<uint64_t> ids;
    for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<uint64_t>(options.first_number + begin + i));
    const torch::Tensor noise =
        draw_noise(options.seed, RandomPurpose::kSampling, std::vector<uint32_t>(ids.size(), 0), ids,
                   torch::empty({count, codec.channels(), side, side},
                                torch::TensorOptions().dtype(torch::kFloat32).device(device)));

    const auto velocity_for = [&](const std::vector<std::string>& captions) -> Velocity {
      flux::FluxInputs inputs;
      inputs.txt_BTX = encoders.tokens->encode(captions);
      inputs.y_BV = encoders.pooled->encode(captions);
      inputs.img_ids_BIA = image_ids(patches, patches, device);
      inputs.txt_ids_BTA = text_ids(inputs.txt_BTX.size(1), device);
      if (model.config().guidance_embed) {
        inputs.guidance_B = torch::full({count}, options.distilled_guidance, noise.options());
      }
      return [&model, inputs](const torch::Tensor& x, const torch::Tensor& t_B) mutable {
        inputs.img_BIC = x;
        inputs.timesteps_B = t_B;
        return model.forward(inputs);
      };
    };
    const auto report = [&](int64_t step) {
      if (!progress) return;
      const double done = static_cast<double>(step) / static_cast<double>(options.denoising_steps);
      progress((static_cast<double>(begin) + done * static_cast<double>(count)) / static_cast<double>(total));
    };
    const torch::Tensor tokens =
        sample_flow(pack_patches(noise, options.patch_size), velocity_for(batch),
                    options.guidance_scale == 1 ? Velocity() : velocity_for(std::vector<std::string>(batch.size())),
                    sampler, report);
    pictures.push_back(codec.decode(unpack_patches(tokens, patches, patches, options.patch_size)).cpu());
  }
  return at::cat(pictures, 0);
}

}  // namespace millrace
