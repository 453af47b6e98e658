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

// kReads: what is there is taken, nothing is written. kWrites: what is encoded is written, and the run trains as
// without; it reads nothing, since a run that read what it had written before would not be the same after a restart.
// kReadsAndWrites: the same draw of the latents is used in every epoch, from the first step on, as sd-scripts does it.
enum class KohyaCacheUse { kNone, kReads, kWrites, kReadsAndWrites };
inline bool reads(KohyaCacheUse use) {
  return use == KohyaCacheUse::kReads || use == KohyaCacheUse::kReadsAndWrites;
}
inline bool writes(KohyaCacheUse use) {
  return use == KohyaCacheUse::kWrites || use == KohyaCacheUse::kReadsAndWrites;
}

struct KohyaPictureCachesOptions {
  KohyaCacheUse latents = KohyaCacheUse::kNone, text = KohyaCacheUse::kNone;
  bool masks_padding = false;  // T5 is run with a mask: encodings without it are not read
  // Identify the networks: files record them, and what other networks encoded is encoded again.
  std::string latents_identity, text_identity;
  // How many of T5's tokens a caption has, with its end, at most as many as are encoded. For writing.
  std::function<int64_t(const std::string& caption)> count_tokens;
  uint64_t max_text_bytes = uint64_t{4} << 30;  // of encodings in memory; others are read again each time
};

// Not thread-safe.
//
// sd-scripts caches the middle of a picture, and its caption as it stands in the file; only those are read and written
// here. A mask in a file of its own is not in the cache.
//
// A file that this program wrote is valid while picture (or caption), sizes, filter and networks are the same; one of
// sd-scripts', which does not say what it was made of, while it is newer than the picture (or the caption's file).
class KohyaPictureCaches {
 public:
  explicit KohyaPictureCaches(KohyaPictureCachesOptions options) : options_(std::move(options)) {}

  KohyaCacheUse latents_use() const { return options_.latents; }
  KohyaCacheUse text_use() const { return options_.text; }

  // The file that has the picture's latents, or will have them; empty: none.
  std::filesystem::path latents_file(const Picture& picture, const Augmentation& drawn) const;
  // As a distribution that has these latents alone, with the alpha mask. key: all that they depend on but for the
  // autoencoder. None where the file is not there, lacks this size, or is of something else or damaged, which is warned
  // of.
  std::optional<CachedLatents> read_latents(const std::filesystem::path& file, const std::string& key,
                                            const Picture& picture, const Augmentation& drawn,
                                            const LoadRequest& request, PictureCodec& codec);
  // latents_Zhw: scaled. mask_11HW: of the picture as drawn; undefined: it counts everywhere.
  void write_latents(const std::filesystem::path& file, const std::string& key, const Picture& picture,
                     const Augmentation& drawn, const LoadRequest& request, const torch::Tensor& latents_Zhw,
                     const torch::Tensor& mask_11HW);
  // Whether this object has written the picture, mirrored or not, at this size.
  bool has_written(const std::filesystem::path& file, const std::string& key) const;

  // None where the caption is trained otherwise than it stands there, or no file gives encodings of it.
  std::optional<KohyaText> read_text(const Picture& picture, const std::string& caption);
  bool will_write_text(const Picture& picture, const std::string& caption) const;
  // Does nothing where it will not.
  void write_text(const Picture& picture, const std::string& caption, const torch::Tensor& tokens_TX,
                  const torch::Tensor& pooled_V);

 private:
  bool is_current(const std::filesystem::path& file, const std::filesystem::path& source);
  std::optional<KohyaText> read_text_file(const std::filesystem::path& file, const Picture& picture,
                                          const std::string& caption);
  uint64_t latents_key(const std::string& key) const;
  uint64_t text_key(const std::string& caption) const;
  void remember(const std::filesystem::path& file, const std::optional<KohyaText>& text);

  KohyaPictureCachesOptions options_;
  std::map<std::filesystem::path, bool> current_;  // asked, and warned of, once
  std::set<std::string> written_;
  std::map<std::filesystem::path, std::optional<KohyaText>> texts_;
  uint64_t text_bytes_ = 0;
};

}  // namespace millrace
