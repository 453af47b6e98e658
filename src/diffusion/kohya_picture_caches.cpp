#include "diffusion/kohya_picture_caches.h"

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/printable.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

bool is_cached_there(const Picture& picture, const Augmentation& drawn) {
  const BucketChoice& choice = picture.choice;
  return drawn.resized == choice.resized && drawn.offset == choice.crop_offset() && drawn.colours == ColourChange();
}

std::string name_in_set(const fs::path& file, const std::string& key) {
  return file.string() + "\n" + key;
}

bool is_there(const fs::path& file) {
  std::error_code error;
  return fs::exists(file, error);
}

}  // namespace

uint64_t KohyaPictureCaches::latents_key(const std::string& key) const {
  const std::string whole = options_.latents_identity + "\n" + key;
  return checksum64(whole.data(), whole.size());
}

uint64_t KohyaPictureCaches::text_key(const std::string& caption) const {
  const std::string whole = options_.text_identity + "\n" + caption;
  return checksum64(whole.data(), whole.size());
}

fs::path KohyaPictureCaches::latents_file(const Picture& picture, const Augmentation& drawn) const {
  if (options_.latents == KohyaCacheUse::kNone || !is_cached_there(picture, drawn)) return {};
  return kohya_latents_file(picture.file.path, picture.size);
}

std::optional<CachedLatents> KohyaPictureCaches::read_latents(const fs::path& file, const std::string& key,
                                                              const Picture& picture, const Augmentation& drawn,
                                                              const LoadRequest& request, PictureCodec& codec) {
  if (!reads(options_.latents) || !is_there(file)) return std::nullopt;
  const int64_t rows = picture.choice.bucket.height / codec.downscale(),
                columns = picture.choice.bucket.width / codec.downscale();
  try {
    const std::optional<StoredLatents> stored = read_kohya_latents(file, rows, columns, drawn.is_mirrored);
    if (!stored || stored->latents_Zhw.size(0) != codec.channels()) return std::nullopt;
    // sd-scripts leaves pictures as they lie in the file, which may be upside down.
    const bool is_theirs = !stored->key.has_value();
    if (is_theirs && (picture.file.orientation != 1 || !is_current(file, picture.file.path))) return std::nullopt;
    if (stored->key && *stored->key != latents_key(key)) {
      log_warning("[", printable(file.string()), "] expected latents of ", printable(picture.file.key),
                  " as it is now trained on, got others: encoding again");
      return std::nullopt;
    }
    CachedLatents latents{codec.moments_of(stored->latents_Zhw.unsqueeze(0)), {}};
    if (!request.alpha_mask) return latents;
    const PictureSize& bucket = picture.choice.bucket;
    const torch::Tensor& mask_HW = stored->mask_HW;
    if (!mask_HW.defined() || mask_HW.size(0) != bucket.height || mask_HW.size(1) != bucket.width) return std::nullopt;
    const torch::Tensor mask_11HW = mask_HW.contiguous().view({1, 1, bucket.height, bucket.width});
    latents.mask_11hw = at::avg_pool2d(mask_11HW, {codec.downscale(), codec.downscale()});
    return latents;
  } catch (const DataError& error) {
    log_warning("encoding a picture again: ", error.what());
    return std::nullopt;
  }
}

void KohyaPictureCaches::write_latents(const fs::path& file, const std::string& key, const Picture& picture,
                                       const Augmentation& drawn, const LoadRequest& request,
                                       const torch::Tensor& latents_Zhw, const torch::Tensor& mask_11HW) {
  KohyaLatents latents{.latents_Zhw = latents_Zhw,
                       .mirrored = drawn.is_mirrored,
                       .original = picture.size,
                       .bucket = picture.choice.bucket,
                       .mask_HW = {},
                       .key = latents_key(key)};
  const PictureSize& bucket = picture.choice.bucket;
  if (request.alpha_mask) {
    latents.mask_HW = mask_11HW.defined() ? mask_11HW[0][0] : torch::ones({bucket.height, bucket.width});
    if (drawn.is_mirrored) latents.mask_HW = latents.mask_HW.flip(1);
  }
  // What another picture of the same name left would look new beside what is written now.
  write_kohya_latents(file, latents, /*keeps_others=*/is_there(file) && is_current(file, picture.file.path));
  current_[file] = true;
  written_.insert(name_in_set(file, key));
}

bool KohyaPictureCaches::has_written(const fs::path& file, const std::string& key) const {
  return written_.contains(name_in_set(file, key));
}

std::optional<KohyaText> KohyaPictureCaches::read_text(const Picture& picture, const std::string& caption) {
  if (!reads(options_.text) || caption != picture.file.caption) return std::nullopt;
  const fs::path file = kohya_text_file(picture.file.path);
  const auto known = texts_.find(file);
  if (known != texts_.end()) return known->second;
  const std::optional<KohyaText> text = read_text_file(file, picture, caption);
  remember(file, text);
  return text;
}

std::optional<KohyaText> KohyaPictureCaches::read_text_file(const fs::path& file, const Picture& picture,
                                                            const std::string& caption) {
  if (!is_there(file)) return std::nullopt;
  try {
    std::optional<KohyaText> text = read_kohya_text(file);
    if (!text || text->is_masked != options_.masks_padding) return std::nullopt;
    const std::string& source = picture.file.caption_path.empty() ? picture.file.path : picture.file.caption_path;
    if (!text->key && !is_current(file, source)) return std::nullopt;
    if (text->key && *text->key != text_key(caption)) {
      log_warning("[", printable(file.string()), "] expected encodings of the caption of ", printable(picture.file.key),
                  " as it is now, got others: encoding again");
      return std::nullopt;
    }
    return text;
  } catch (const DataError& error) {
    log_warning("encoding a caption again: ", error.what());
    return std::nullopt;
  }
}

bool KohyaPictureCaches::will_write_text(const Picture& picture, const std::string& caption) const {
  return writes(options_.text) && caption == picture.file.caption &&
         !written_.contains(kohya_text_file(picture.file.path).string());
}

void KohyaPictureCaches::write_text(const Picture& picture, const std::string& caption, const torch::Tensor& tokens_TX,
                                    const torch::Tensor& pooled_V) {
  if (!will_write_text(picture, caption)) return;
  const fs::path file = kohya_text_file(picture.file.path);
  written_.insert(file.string());
  const KohyaText text{.pooled_V = pooled_V,
                       .tokens_TX = tokens_TX,
                       .num_tokens = options_.count_tokens(caption),
                       .is_masked = options_.masks_padding,
                       .key = text_key(caption)};
  write_kohya_text(file, text);
  texts_.erase(file);
}

void KohyaPictureCaches::remember(const fs::path& file, const std::optional<KohyaText>& text) {
  const uint64_t size = text ? text->pooled_V.nbytes() + text->tokens_TX.nbytes() : 0;
  if (text_bytes_ + size > options_.max_text_bytes) return;
  text_bytes_ += size;
  texts_[file] = text;
}

bool KohyaPictureCaches::is_current(const fs::path& file, const fs::path& source) {
  const auto known = current_.find(file);
  if (known != current_.end()) return known->second;
  return current_[file] = millrace::is_current(file, source);
}

}  // namespace millrace
