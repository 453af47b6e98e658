#include "tasks/flux_pretrain/flux_data.h"

#include "base/error.h"
#include "base/log.h"
#include "data/dataset_files.h"
#include "tasks/flux_pretrain/encoder_identity.h"
#include "tasks/flux_pretrain/flux_setup.h"

namespace millrace {
namespace {

FluxDataset open_dataset(const std::string& kind, const std::string& path, const std::string& key) {
  FluxDataset dataset;
  dataset.kind = &find_dataset_kind(kind);
  dataset.shards = list_dataset(*dataset.kind, path, key);
  dataset.name = path.empty() ? dataset.shards.front().path.parent_path().string() : path;
  if (dataset.kind->is_encoded) dataset.shapes = probe_encodings(dataset.shards);
  return dataset;
}

}  // namespace

FluxDataset training_dataset(const RunConfig& config) {
  return open_dataset(config.training.dataset, config.training.dataset_path, "training.dataset_path");
}

FluxDataset validation_dataset(const RunConfig& config) {
  const ValidationConfig& validation = config.validation;
  // A data set without a kind is of the training data's.
  return open_dataset(validation.dataset.empty() ? config.training.dataset : validation.dataset,
                      validation.dataset_path, "validation.dataset_path");
}

void check_encodings(const FluxDataset& dataset, const RunConfig& config, const flux::FluxConfig& sizes,
                     int64_t downscale) {
  check_encoded_with(dataset.shards.front().path, config.encoder);
  const EncodingShapes& shapes = *dataset.shapes;
  const auto fail = [&](const std::string& expected, const std::string& option) {
    throw ModelError(str("[", dataset.name, "] expected ", expected, ", got ", describe(shapes), " (see ", option,
                         "; were the samples encoded for another model?)"));
  };
  if (shapes.num_tokens != config.encoder.max_t5_encoding_len) {
    fail(str("T5 encodings of ", config.encoder.max_t5_encoding_len, " tokens"), "encoder.max_t5_encoding_len");
  }
  if (shapes.token_width != sizes.context_in_dim) {
    fail(str("T5 encodings of width ", sizes.context_in_dim), "model.context_in_dim");
  }
  if (shapes.pooled_width != sizes.vec_in_dim) {
    fail(str("CLIP encodings of width ", sizes.vec_in_dim), "model.vec_in_dim");
  }
  const int64_t patch = patch_size(config), side = shapes.latent_rows;
  if (shapes.latent_channels * patch * patch != sizes.in_channels) {
    fail(str("latents of ", sizes.in_channels / (patch * patch), " channels"), "model.in_channels");
  }
  const int64_t img_size = config.training.img_size;
  const bool fits = downscale > 0 ? side * downscale == img_size : img_size % side == 0;
  if (side != shapes.latent_columns || side % patch != 0 || !fits) {
    fail(str("square latents of pictures of ", img_size, " pixels",
             downscale > 0 ? str(", ", downscale, " times smaller") : "", ", in patches of ", patch),
         "training.img_size");
  }
}

}  // namespace millrace
