#include "prepare/encode/empty_encodings.h"

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "diffusion/encoder_identity.h"
#include "diffusion/flux_setup.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "nn/device.h"
#include "parallel/configured_placement.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

std::vector<int64_t> shape_in(const fs::path& file) {
  return NpyFile(file).array().shape;
}

void write_half(const fs::path& file, const torch::Tensor& encoding) {
  const torch::Tensor half = encoding.to(torch::kFloat16).cpu().contiguous();
  if (!half.isfinite().all().item<bool>()) {
    throw ModelError(str("[", file.string(), "] expected numbers that float16 holds, got larger ones"));
  }
  write_npy(file, DType::kF16, half.sizes().vec(),
            {static_cast<const std::byte*>(half.const_data_ptr()), static_cast<size_t>(half.nbytes())});
}

}  // namespace

bool write_empty_encodings(const FluxRunConfig& config, const fs::path& folder) {
  const fs::path t5 = folder / "t5_empty.npy", clip = folder / "clip_empty.npy", manifest = folder / kEncodingsManifest;
  // Pictures are not involved: the number of latent channels does not matter here.
  const flux::FluxConfig sizes = flux_config(config, /*codec_channels=*/16);
  const std::vector<int64_t> t5_shape = {1, config.encoder.max_t5_encoding_len, sizes.context_in_dim};
  const std::vector<int64_t> clip_shape = {1, sizes.vec_in_dim};
  EncoderConfig text_encoders = config.encoder;
  text_encoders.autoencoder_path.clear();
  nlohmann::ordered_json wanted = {{"format", "millrace empty encodings, version 1"}};
  wanted.update(encoder_identity(text_encoders));

  if (fs::exists(t5) && fs::exists(clip)) {
    if (fs::exists(manifest)) {
      const std::string difference = describe_difference(wanted, read_encodings_manifest(manifest));
      if (!difference.empty()) {
        throw ConfigError(str("[", manifest.string(), "] ", difference,
                              " (the folder holds the empty prompt of another encoder: take another folder)"));
      }
    }
    for (const auto& [file, shape] : {std::pair{t5, t5_shape}, {clip, clip_shape}}) {
      const std::vector<int64_t> found = shape_in(file);
      if (found == shape) continue;
      throw ConfigError(str("[", file.string(), "] expected shape ", shape_text(shape), ", got ", shape_text(found),
                            " (the folder holds the empty prompt of another encoder: take another folder)"));
    }
    return false;
  }

  const torch::Device device = resolve_device(config.training.device);
  const CaptionEncoders encoders = make_caption_encoders(config, sizes, compute_dtype(config, device), device);
  const torch::Tensor t5_BTX = encoders.tokens->encode({""}), clip_BV = encoders.pooled->encode({""});
  create_folders(folder);
  write_half(t5, t5_BTX);
  write_half(clip, clip_BV);
  write_file_atomically(manifest, wanted.dump(2) + "\n");
  return true;
}

}  // namespace millrace
