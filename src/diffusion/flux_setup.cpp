#include "diffusion/flux_setup.h"

#include "base/error.h"
#include "base/log.h"
#include "diffusion/base_adapters.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxCachedBytes = uint64_t{4} << 30;  // of text encodings, per encoder

template <typename T>
void replace_if_set(T& target, const T& value) {
  if (value != T{}) target = value;
}

}  // namespace

int64_t patch_size(const FluxRunConfig& config) {
  return config.model.patch_size > 0 ? config.model.patch_size : 2;
}

flux::FluxConfig flux_config(const FluxRunConfig& config, int64_t codec_channels) {
  const FluxModelConfig& model = config.model;
  flux::FluxConfig sizes = flux::flavor(model.flavor);
  const int64_t features = codec_channels * patch_size(config) * patch_size(config);
  if (model.in_channels > 0 && model.in_channels != features) {
    throw ConfigError(str("[model.in_channels] expected ", features, " (latent channels ", codec_channels,
                          " x patch_size squared), got ", model.in_channels));
  }
  sizes.in_channels = sizes.out_channels = features;
  replace_if_set(sizes.hidden_size, model.hidden_size);
  replace_if_set(sizes.num_heads, model.num_heads);
  // A depth of 0 means the flavor's: a model without one kind of block is requested by the other kind's count.
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

// On a CPU, fp32 convolutions are faster than bf16 ones (kernels/winograd), and more accurate.
torch::Dtype autoencoder_dtype(torch::Dtype dtype, torch::Device device) {
  return device.is_cpu() ? torch::kFloat32 : dtype;
}

std::unique_ptr<PictureCodec> make_picture_codec(const FluxRunConfig& config, torch::Dtype dtype,
                                                 torch::Device device) {
  const std::string& path = config.encoder.autoencoder_path;
  if (path == "none") return pixel_codec();
  if (path.empty()) {
    throw ConfigError(
        "[encoder.autoencoder_path] expected a file, \"random\" or \"none\" to train on pictures, got nothing");
  }
  return autoencoder_codec({path == kRandomNetwork ? std::string() : path, config.encoder.autoencoder_shift,
                            config.encoder.autoencoder_scale, autoencoder_dtype(dtype, device), device});
}

std::filesystem::path cache_folder(const FluxRunConfig& config, const std::string& name) {
  const std::string& folder = config.encoder.cache_folder;
  return folder.empty() ? std::filesystem::path(config.job.dump_folder) / name : std::filesystem::path(folder);
}

CaptionEncoders make_caption_encoders(const FluxRunConfig& config, const flux::FluxConfig& sizes, torch::Dtype dtype,
                                      torch::Device device, Mesh* mesh) {
  const EncoderConfig& encoder = config.encoder;
  for (const auto& [key, path] :
       {std::pair{"t5_encoder", encoder.t5_encoder}, {"clip_encoder", encoder.clip_encoder}}) {
    if (path.empty()) {
      throw ConfigError(str("[encoder.", key, "] expected a folder or \"random\" to encode captions, got nothing"));
    }
  }
  const bool on_host = encoder.device == EncoderDevice::kCpu && !device.is_cpu();
  const EncoderPlacement placement{dtype, on_host ? torch::Device(torch::kCPU) : device, on_host ? nullptr : mesh,
                                   encoder.shard};
  const BaseAdapters base = config.lora() != nullptr ? read_base_adapters(*config.lora(), sizes) : BaseAdapters();
  const auto with = [&](const AdapterMerger& merged) {
    EncoderPlacement own = placement;
    own.merged = merged.is_empty() ? nullptr : &merged;
    own.merged_identity = base.identity;
    return own;
  };
  for (const auto& [path, merged] : {std::pair{&encoder.t5_encoder, &base.t5}, {&encoder.clip_encoder, &base.clip}}) {
    if (*path == kRandomNetwork && !merged->is_empty()) {
      log_info("lora.base_weights: leaves out adapters of a text encoder that is \"random\"");
    }
  }
  CaptionEncoders encoders;
  encoders.tokens =
      encoder.t5_encoder == kRandomNetwork
          ? random_word_encoder(encoder.max_t5_encoding_len, sizes.context_in_dim, device, encoder.apply_t5_attn_mask)
          : t5_caption_encoder(encoder.t5_encoder, encoder.t5_tokenizer, encoder.max_t5_encoding_len,
                               sizes.context_in_dim, with(base.t5), encoder.apply_t5_attn_mask);
  encoders.pooled =
      encoder.clip_encoder == kRandomNetwork
          ? random_pooled_encoder(sizes.vec_in_dim, device)
          : clip_caption_encoder(encoder.clip_encoder, encoder.clip_tokenizer, sizes.vec_in_dim, with(base.clip));
  const bool keeps = encoder.cache_encodings != EncodingCache::kNone && encoder.cache_encodings != EncodingCache::kAuto;
  if (keeps || on_host) {  // a cache takes encodings to the device, too
    const uint64_t most = keeps ? kMaxCachedBytes : 0;
    const bool on_disk = encoder.cache_encodings == EncodingCache::kDisk;
    const std::filesystem::path folder = on_disk ? cache_folder(config, "encodings") : std::filesystem::path();
    const auto cache = [&](std::unique_ptr<CaptionEncoder>& kept) {
      kept = cached_caption_encoder(std::move(kept), device, most, folder);
    };
    if (!config.trains_t5xxl()) cache(encoders.tokens);
    if (!config.trains_clip_l()) cache(encoders.pooled);
  }
  return encoders;
}

}  // namespace millrace
