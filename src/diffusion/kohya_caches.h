// The files in which sd-scripts caches what FLUX's frozen networks make of a picture and its caption, beside the
// picture: cat_1280x0768_flux.npz and cat_flux_te.npz (library/flux_train_utils.py and strategy_flux.py, commit
// 48d368f).
//
// Letters: Z channels, h and w rows and columns of the latent; T text tokens, X and V widths of the text encodings.
//
//   latents_{h}x{w}          fp32 [Z, h, w], scaled as the model takes them: one draw, kept for ever
//   latents_flipped_{h}x{w}  the same of the mirrored picture
//   original_size_{h}x{w}    int64 [2], width and height of the picture
//   crop_ltrb_{h}x{w}        fp64 [4], which nothing of FLUX reads
//   alpha_mask_{h}x{w}       fp32 [8h, 8w]
//   l_pooled                 fp32 [V]
//   t5_out                   fp32 [T, X]
//   txt_ids                  fp32 [T, 3], zeros
//   t5_attn_mask             int64 [T], 1 for tokens of the caption
//   apply_t5_attn_mask       bool: whether T5 was run with that mask
//
// Several sizes of one picture share a file. sd-scripts' own files do not say which picture or caption they were made
// of. Ours do, in arrays that sd-scripts passes over:
//
//   millrace_key_{h}x{w}, millrace_key_flipped_{h}x{w}, millrace_key    int64 [1]: a checksum of all that it depends on
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>

#include "images/aspect_buckets.h"

namespace millrace {

// size: of the picture as it is stored.
std::filesystem::path kohya_latents_file(const std::filesystem::path& picture, const PictureSize& size);
std::filesystem::path kohya_text_file(const std::filesystem::path& picture);

// Whether a file is there and no older than the picture (or caption) that it was made of. An older one is warned of.
bool is_current(const std::filesystem::path& cache, const std::filesystem::path& source);

struct StoredLatents {
  torch::Tensor latents_Zhw;    // fp32
  torch::Tensor mask_HW;        // fp32; undefined: the file has none
  std::optional<uint64_t> key;  // none: sd-scripts wrote them
};
// None where the file has none of that size. Throws DataError for a damaged file.
std::optional<StoredLatents> read_kohya_latents(const std::filesystem::path& file, int64_t rows, int64_t columns,
                                                bool mirrored);

struct KohyaLatents {
  torch::Tensor latents_Zhw;
  bool mirrored = false;
  PictureSize original, bucket;
  torch::Tensor mask_HW;        // of the picture as it is, not mirrored; undefined: none
  std::optional<uint64_t> key;  // none: not written
};
// Adds them to the file. keeps_others: its other arrays stay, unless it is damaged.
void write_kohya_latents(const std::filesystem::path& file, const KohyaLatents& latents, bool keeps_others = true);

struct KohyaText {
  torch::Tensor pooled_V, tokens_TX;  // fp32
  int64_t num_tokens = 0;             // of the T: those of the caption, with the end
  bool is_masked = false;             // T5 was run with a mask of the others
  std::optional<uint64_t> key;        // none: sd-scripts wrote it
};
// None where an array is missing.
std::optional<KohyaText> read_kohya_text(const std::filesystem::path& file);
void write_kohya_text(const std::filesystem::path& file, const KohyaText& text);

}  // namespace millrace
