#include "prepare/encode/encode_networks.h"

#include "base/error.h"
#include "base/log.h"
#include "parallel/configured_placement.h"

namespace millrace {
namespace {

constexpr int64_t kPicturesAtOnce = 32;  // more do not help a GPU, and would need a GB of memory for each four

torch::Tensor stored(const torch::Tensor& encoding, const char* name) {
  const torch::Tensor narrow = encoding.to(torch::kBFloat16);
  if (!narrow.isfinite().all().item<bool>()) {
    throw ModelError(str("[", name, "] expected finite numbers, got some that are not (try ",
                         "training.mixed_precision_param = \"float32\")"));
  }
  return narrow.to(torch::kCPU).contiguous();
}

}  // namespace

void load_autoencoder(EncodeNetworks& networks, const FluxRunConfig& config) {
  networks.dtype = compute_dtype(config, networks.device);
  if (config.encoder.autoencoder_path == "none") {
    throw ConfigError("[encoder.autoencoder_path] expected an autoencoder to encode pictures with, got \"none\"");
  }
  networks.codec = make_picture_codec(config, networks.dtype, networks.device);
  networks.sizes = flux_config(config, networks.codec->channels());
  if (config.training_pictures.img_size % networks.codec->downscale() != 0) {
    throw ConfigError(str("[training.img_size] expected a multiple of ", networks.codec->downscale(),
                          " (pixels per latent), got ", config.training_pictures.img_size));
  }
}

void load_caption_encoders(EncodeNetworks& networks, const FluxRunConfig& config, Mesh* mesh) {
  if (config.encoder.apply_t5_attn_mask) {
    throw ConfigError(
        "[encoder.apply_t5_attn_mask] expected false, since encoded data does not say how long its texts are, got "
        "true");
  }
  networks.encoders = make_caption_encoders(config, networks.sizes, networks.dtype, networks.device, mesh);
  const EncodingCache cache = config.encoder.cache_encodings;
  if (cache != EncodingCache::kNone && cache != EncodingCache::kAuto) return;
  // Captions that occur twice in a batch are encoded once.
  for (std::unique_ptr<CaptionEncoder>* encoder : {&networks.encoders.tokens, &networks.encoders.pooled}) {
    *encoder = cached_caption_encoder(std::move(*encoder), networks.device, /*max_bytes=*/0);
  }
}

EncodingShapes encoding_shapes(const EncodeNetworks& networks, const FluxRunConfig& config) {
  const int64_t side = config.training_pictures.img_size / networks.codec->downscale();
  return {.num_tokens = config.encoder.max_t5_encoding_len,
          .token_width = networks.sizes.context_in_dim,
          .pooled_width = networks.sizes.vec_in_dim,
          .latent_channels = networks.codec->channels(),
          .latent_rows = side,
          .latent_columns = side};
}

Encodings encode_samples(EncodeNetworks& networks, const std::vector<std::string>& captions,
                         const torch::Tensor& image_BCHW) {
  Encodings encodings;
  encodings.t5_BTX = stored(networks.encoders.tokens->encode(captions), "T5");
  encodings.clip_BV = stored(networks.encoders.pooled->encode(captions), "CLIP");
  std::vector<torch::Tensor> means, logvars;
  for (const torch::Tensor& some_BCHW : image_BCHW.split(kPicturesAtOnce)) {
    const PictureMoments moments = networks.codec->moments(some_BCHW);
    means.push_back(stored(moments.mean_BZhw, "the autoencoder's mean"));
    logvars.push_back(stored(moments.logvar_BZhw, "the autoencoder's log-variance"));
  }
  encodings.mean_BZhw = at::cat(means, 0);
  encodings.logvar_BZhw = at::cat(logvars, 0);
  return encodings;
}

void join_collectives(EncodeNetworks& networks) {
  networks.encoders.tokens->encode({""});
  networks.encoders.pooled->encode({""});
}

}  // namespace millrace
