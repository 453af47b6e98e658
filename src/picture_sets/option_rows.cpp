#include "picture_sets/option_rows.h"

namespace millrace {
namespace {

using S = SubsetOptions;
using D = DatasetOptions;
using P = OptionPlace;

const OptionRow<S> kSubsetRows[] = {
    {"image_dir", P::kOnlyInSubset, &S::image_dir},
    {"metadata_file", P::kOnlyInSubset, &S::metadata_file},
    {"conditioning_data_dir", P::kOnlyInSubset, &S::conditioning_data_dir},
    {"num_repeats", P::kAnySubset, &S::num_repeats},
    {"shuffle_caption", P::kAnySubset, &S::shuffle_caption},
    {"caption_separator", P::kAnySubset, &S::caption_separator},
    {"keep_tokens", P::kAnySubset, &S::keep_tokens},
    {"keep_tokens_separator", P::kAnySubset, &S::keep_tokens_separator},
    {"secondary_separator", P::kAnySubset, &S::secondary_separator},
    {"enable_wildcard", P::kAnySubset, &S::enable_wildcard},
    {"color_aug", P::kAnySubset, &S::color_aug},
    {"flip_aug", P::kAnySubset, &S::flip_aug},
    {"face_crop_aug_range", P::kAnySubset, &S::face_crop_aug_range, false},
    {"random_crop", P::kAnySubset, &S::random_crop},
    {"caption_prefix", P::kAnySubset, &S::caption_prefix},
    {"caption_suffix", P::kAnySubset, &S::caption_suffix},
    {"caption_dropout_rate", P::kAnySubset, &S::caption_dropout_rate, true, true},
    {"caption_dropout_every_n_epochs", P::kAnySubset, &S::caption_dropout_every_n_epochs},
    {"caption_tag_dropout_rate", P::kAnySubset, &S::caption_tag_dropout_rate, true, true},
    {"token_warmup_min", P::kAnySubset, &S::token_warmup_min},
    {"token_warmup_step", P::kAnySubset, &S::token_warmup_step},
    {"custom_attributes", P::kAnySubset, &S::custom_attributes},
    {"validation_seed", P::kDataset, &S::validation_seed},
    {"validation_split", P::kDataset, &S::validation_split, false, true},
    {"resize_interpolation", P::kAnySubset, &S::resize_interpolation},
    {"is_reg", P::kOnlyInSubset, &S::is_reg},
    {"class_tokens", P::kNoMetadataNorMasks, &S::class_tokens},
    {"caption_extension", P::kWithCaptionFiles, &S::caption_extension},
    {"cache_info", P::kWithCaptionFiles, &S::cache_info},
    {"alpha_mask", P::kOnlyInSubset, &S::alpha_mask},
};

const OptionRow<D> kDatasetRows[] = {
    {"resolution", P::kDataset, &D::resolution},
    {"network_multiplier", P::kDataset, &D::network_multiplier, false},
    {"debug_dataset", P::kCommandLine, &D::debug_dataset},
    {"validation_seed", P::kDataset, &D::validation_seed},
    {"validation_split", P::kDataset, &D::validation_split, false, true},
    {"resize_interpolation", P::kDataset, &D::resize_interpolation},
    {"batch_size", P::kDataset, &D::batch_size},
    {"enable_bucket", P::kDataset, &D::enable_bucket},
    {"min_bucket_reso", P::kDataset, &D::min_bucket_reso},
    {"max_bucket_reso", P::kDataset, &D::max_bucket_reso},
    {"bucket_reso_steps", P::kDataset, &D::bucket_reso_steps},
    {"bucket_no_upscale", P::kDataset, &D::bucket_no_upscale},
    {"prior_loss_weight", P::kCommandLine, &D::prior_loss_weight},
};

}  // namespace

std::span<const OptionRow<SubsetOptions>> subset_rows() {
  return kSubsetRows;
}
std::span<const OptionRow<DatasetOptions>> dataset_rows() {
  return kDatasetRows;
}

bool subset_has(CaptionStyle style, const OptionRow<SubsetOptions>& row) {
  const std::string_view name = row.name;
  if (name == "metadata_file") return style == CaptionStyle::kMetadata;
  if (name == "conditioning_data_dir") return style == CaptionStyle::kMasks;
  if (name == "is_reg" || row.place == OptionPlace::kNoMetadataNorMasks) return style == CaptionStyle::kCaptionFiles;
  if (name == "alpha_mask") return style != CaptionStyle::kMasks;
  if (row.place == OptionPlace::kWithCaptionFiles) return style != CaptionStyle::kMetadata;
  return true;
}

bool dataset_has(CaptionStyle style, const OptionRow<DatasetOptions>& row) {
  return std::string_view(row.name) != "prior_loss_weight" || style == CaptionStyle::kCaptionFiles;
}

}  // namespace millrace
