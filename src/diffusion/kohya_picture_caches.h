// sd-scripts' caches in the place of the frozen networks: read where they lie beside the pictures, or written there.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "diffusion/kohya_caches.h"
#include "diffusion/latent_cache.h"
#include "diffusion/picture_codec.h"
#include "picture_sets/bucket_picture.h"

namespace millrace {

struct KohyaPictureCachesOptions {
  bool writes = false;         // false: reads
  bool masks_padding = false;  // T5 is run with a mask: encodings without it are not read
  // How many of T5's tokens a caption has, with its end, at most as many as are encoded. For writing.
  std::function<int64_t(const std::string& caption)> count_tokens;
};

// Not thread-safe. A run either reads or writes: a file holds one draw of the latents, and a run that read what it had
// written before would not be the same after a restart.
//
// sd-scripts caches the middle of a picture, and its caption as it stands in the file; only those are read and written
// here, of pictures without a mask.
class KohyaPictureCaches {
 public:
  explicit KohyaPictureCaches(KohyaPictureCachesOptions options) : options_(std::move(options)) {}

  // The file to read the picture's latents from; empty: none, or it is older than the picture.
  std::filesystem::path latents_to_read(const Picture& picture, const Augmentation& drawn, const LoadRequest& request);
  // As a distribution that has these latents alone. None where the file lacks this size or is damaged, which is warned
  // of.
  std::optional<CachedLatents> read_latents(const std::filesystem::path& file, const Picture& picture,
                                            const Augmentation& drawn, PictureCodec& codec);
  // None where the caption is trained otherwise than it stands there, or no file gives encodings of it.
  std::optional<KohyaText> read_text(const Picture& picture, const std::string& caption);

  // Once for each picture, mirrored or not. draw: gives the latents [Z, h, w], scaled, where they are to be written.
  void write_latents(const Picture& picture, const Augmentation& drawn, const LoadRequest& request,
                     const std::function<torch::Tensor()>& draw);
  void write_text(const Picture& picture, const std::string& caption, const torch::Tensor& tokens_TX,
                  const torch::Tensor& pooled_V);

 private:
  bool is_current(const std::filesystem::path& file, const Picture& picture);

  KohyaPictureCachesOptions options_;
  std::map<std::filesystem::path, bool> current_;  // asked, and warned of, once
  std::set<std::string> written_;
  std::map<std::filesystem::path, std::optional<KohyaText>> texts_;
};

}  // namespace millrace
