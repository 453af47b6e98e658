#include "diffusion/kohya_picture_caches.h"

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

bool is_cached_there(const Picture& picture, const Augmentation& drawn, const LoadRequest& request) {
  const BucketChoice& choice = picture.choice;
  const bool is_plain =
      drawn.resized == choice.resized && drawn.offset == choice.crop_offset() && drawn.colours == ColourChange();
  return is_plain && !request.alpha_mask && picture.file.mask_path.empty();
}

std::filesystem::path latents_file(const Picture& picture) {
  return kohya_latents_file(picture.file.path, picture.size);
}

}  // namespace

std::filesystem::path KohyaPictureCaches::latents_to_read(const Picture& picture, const Augmentation& drawn,
                                                          const LoadRequest& request) {
  if (options_.writes || !is_cached_there(picture, drawn, request)) return {};
  const std::filesystem::path file = latents_file(picture);
  return is_current(file, picture) ? file : std::filesystem::path();
}

std::optional<CachedLatents> KohyaPictureCaches::read_latents(const std::filesystem::path& file, const Picture& picture,
                                                              const Augmentation& drawn, PictureCodec& codec) {
  const int64_t rows = picture.choice.bucket.height / codec.downscale(),
                columns = picture.choice.bucket.width / codec.downscale();
  try {
    const torch::Tensor latents = read_kohya_latents(file, rows, columns, drawn.is_mirrored);
    if (!latents.defined() || latents.size(0) != codec.channels()) return std::nullopt;
    return CachedLatents{codec.moments_of(latents.unsqueeze(0)), {}};
  } catch (const DataError& error) {
    log_warning("encoding a picture again: ", error.what());
    return std::nullopt;
  }
}

std::optional<KohyaText> KohyaPictureCaches::read_text(const Picture& picture, const std::string& caption) {
  if (options_.writes || caption != picture.file.caption) return std::nullopt;
  const std::filesystem::path file = kohya_text_file(picture.file.path);
  const auto known = texts_.find(file);
  if (known != texts_.end()) return known->second;
  std::optional<KohyaText> text;
  try {
    if (is_current(file, picture)) text = read_kohya_text(file);
    if (text && text->is_masked != options_.masks_padding) text.reset();
  } catch (const DataError& error) {
    log_warning("encoding a caption again: ", error.what());
  }
  texts_[file] = text;
  return text;
}

void KohyaPictureCaches::write_latents(const Picture& picture, const Augmentation& drawn, const LoadRequest& request,
                                       const std::function<torch::Tensor()>& draw) {
  if (!options_.writes || !is_cached_there(picture, drawn, request)) return;
  const std::filesystem::path file = latents_file(picture);
  if (!written_.insert(str(file.string(), drawn.is_mirrored ? " mirrored" : "")).second) return;
  write_kohya_latents(file, {draw(), drawn.is_mirrored, picture.size, picture.choice.bucket});
}

void KohyaPictureCaches::write_text(const Picture& picture, const std::string& caption, const torch::Tensor& tokens_TX,
                                    const torch::Tensor& pooled_V) {
  if (!options_.writes || caption != picture.file.caption) return;
  const std::filesystem::path file = kohya_text_file(picture.file.path);
  if (!written_.insert(file.string()).second) return;
  write_kohya_text(file, {pooled_V, tokens_TX, options_.count_tokens(caption), options_.masks_padding});
}

bool KohyaPictureCaches::is_current(const std::filesystem::path& file, const Picture& picture) {
  const auto known = current_.find(file);
  if (known != current_.end()) return known->second;
  return current_[file] = millrace::is_current(file, picture.file.path);
}

}  // namespace millrace
