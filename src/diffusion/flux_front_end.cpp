#include "diffusion/flux_front_end.h"

#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "models/autoencoder/config.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

torch::Dtype stored_dtype(DType dtype, const fs::path& path) {
  switch (dtype) {
    case DType::kU16:  // the bits of bfloat16
    case DType::kBF16:
      return torch::kBFloat16;
    case DType::kF16:
      return torch::kFloat16;
    case DType::kF32:
      return torch::kFloat32;
    default:
      throw DataError("[" + path.string() + "] expected float16, float32 or the bits of bfloat16 as uint16, got " +
                      std::string(dtype_name(dtype)));
  }
}

// An array of the required shape, with or without a leading 1.
torch::Tensor read_encoding(const fs::path& path, const std::vector<int64_t>& shape, torch::Device device) {
  const NpyFile file(path);
  const NpyArray& array = file.array();
  std::vector<int64_t> with_batch = shape;
  with_batch.insert(with_batch.begin(), 1);
  if (array.shape != shape && array.shape != with_batch) {
    throw ModelError("[" + path.string() + "] expected shape " + shape_text(shape) + ", got " +
                     shape_text(array.shape) + " (were they made for another encoder?)");
  }
  return torch::from_blob(const_cast<std::byte*>(array.bytes.data()), shape, stored_dtype(array.dtype, path))
      .to(device, torch::kBFloat16, /*non_blocking=*/false, /*copy=*/true);
}

}  // namespace

void encode_captions(const CaptionEncoders& encoders, std::vector<std::string> captions, bool for_training,
                     FluxBatch& batch) {
  batch.captions = std::move(captions);
  batch.text_lengths = encoders.tokens->lengths(batch.captions);
  if (!for_training || !encoders.tokens->is_trained()) batch.txt_BTX = encoders.tokens->encode(batch.captions);
  if (!for_training || !encoders.pooled->is_trained()) batch.y_BV = encoders.pooled->encode(batch.captions);
}

void set_latent_scale(FluxFrontEnd& front_end, const EncoderConfig& encoder) {
  const autoencoder::AutoencoderConfig published;
  front_end.latent_shift = encoder.autoencoder_shift.value_or(published.shift_factor);
  front_end.latent_scale = encoder.autoencoder_scale.value_or(published.scaling_factor);
}

void load_empty_prompt(FluxFrontEnd& front_end, const FluxRunConfig& config, const flux::FluxConfig& sizes,
                       torch::Device device) {
  const fs::path folder = config.encoder.empty_encodings_path;
  if (!folder.empty()) {
    front_end.empty_TX =
        read_encoding(folder / "t5_empty.npy", {config.encoder.max_t5_encoding_len, sizes.context_in_dim}, device);
    front_end.empty_V = read_encoding(folder / "clip_empty.npy", {sizes.vec_in_dim}, device);
  } else if (front_end.encoders.tokens && front_end.encoders.pooled) {
    front_end.empty_TX = front_end.encoders.tokens->encode({""})[0].to(torch::kBFloat16);
    front_end.empty_V = front_end.encoders.pooled->encode({""})[0].to(torch::kBFloat16);
  } else {
    throw ConfigError(
        "[encoder.empty_encodings_path] expected the folder with the encodings of the empty prompt, which "
        "training.classifier_free_guidance_prob substitutes for captions, got nothing (`millrace prepare "
        "empty-encodings` writes it)");
  }
}

}  // namespace millrace
