#include "diffusion/flux_data.h"

#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "data/dataset_files.h"
#include "diffusion/encoder_identity.h"
#include "diffusion/flux_setup.h"
#include "diffusion/rank_files.h"
#include "diffusion/timestep_sampling.h"
#include "picture_sets/trained_options.h"

namespace millrace {
namespace {

struct DatasetPlace {
  const std::string& kind;
  const std::string& path;
  const char* key;  // of the path's option
};

FluxDataset open_dataset(const DatasetPlace& place, const LostFileLimit& limit, Group& ranks, torch::Device device) {
  FluxDataset dataset;
  dataset.kind = &find_dataset_kind(place.kind);
  dataset.shards = list_rank_files(*dataset.kind, place.path, place.key, ranks, device);
  check_lost_files(dataset.shards, limit, ranks);
  dataset.name = place.path.empty() ? dataset.shards.front().path.parent_path().string() : place.path;
  if (dataset.kind->is_encoded) dataset.shapes = probe_encodings(dataset.shards);
  return dataset;
}

void warn_of_offsets(TimestepSampling sampling, const FluxDataset& dataset) {
  if (reads_offset(sampling)) return;
  for (const PictureSet& set : dataset.pictures->sets) {
    for (const SubsetOptions& subset : set.options.subsets) {
      if (timestep_offset(subset) == 0) continue;
      log_warning(printable(dataset.name),
                  ": timestep_sampling.offset has no effect with objective.timestep_sampling = ", choice_text(sampling),
                  " (try sigmoid, shift or flux_shift)");
      return;
    }
  }
}

// is_validation: nothing of it is trained on.
FluxDataset open_pictures(const FluxRunConfig& config, const std::string& path, bool is_validation, Mesh& mesh,
                          torch::Device device) {
  const TrainingConfig& training = config.training;
  OpenSettings settings;
  settings.batch_size = training.local_batch_size * mesh.data_size();
  settings.resolution = config.training_pictures.img_size;
  settings.masked_loss = config.training_pictures.masked_loss;
  settings.prior_loss_weight = config.training_pictures.prior_loss_weight;
  settings.seed = training.seed.value_or(0);
  settings.num_threads = decoding_threads(training.num_workers);
  settings.max_bad_fraction = training.max_bad_samples;
  settings.resize_interpolation = own_resize_interpolation(config.training_pictures);
  settings.held_back = config.validation_pictures.split;
  settings.is_validation = is_validation;
  settings.writes_info = mesh.world().rank() == 0;
  FluxDataset dataset;
  dataset.kind = &find_dataset_kind("pictures");
  dataset.name = path;
  dataset.pictures = std::make_shared<const PictureData>(open_picture_data(path, settings, mesh.world(), device));
  if (settings.masked_loss && !dataset.pictures->has_masks()) {
    throw ConfigError("[training.masked_loss] expected conditioning_data_dir or alpha_mask in " + printable(path) +
                      ", got neither");
  }
  for (const PictureSet& set : dataset.pictures->sets) {
    for (const SubsetOptions& subset : set.options.subsets) {
      if (config.lora() != nullptr || !preserves_output(subset)) continue;
      throw ConfigError("[" + printable(path) +
                        ": custom_attributes] expected diff_output_preservation with a section [lora] alone, since a "
                        "model that is trained whole has no frozen one beside it, got it without");
    }
  }
  if (!is_validation) warn_of_offsets(config.objective().timestep_sampling, dataset);
  return dataset;
}

}  // namespace

FluxDataset training_dataset(const FluxRunConfig& config, Mesh& mesh, torch::Device device) {
  const TrainingPicturesConfig& training = config.training_pictures;
  if (config.trains_on_pictures()) {
    return open_pictures(config, training.dataset_path, /*is_validation=*/false, mesh, device);
  }
  return open_dataset({training.dataset, training.dataset_path, "training.dataset_path"},
                      {config.training.max_bad_samples,
                       "downloading again or removing files that are not shards, or a larger training.max_bad_samples, "
                       "which counts for files too"},
                      mesh.world(), device);
}

FluxDataset validation_dataset(const FluxRunConfig& config, const FluxDataset* training, Mesh& mesh,
                               torch::Device device) {
  const ValidationPicturesConfig& validation = config.validation_pictures;
  // A data set without a kind has that of the training data.
  const std::string& kind = validation.dataset.empty() ? config.training_pictures.dataset : validation.dataset;
  if (!find_dataset_kind(kind).is_picture_set) {
    return open_dataset({kind, validation.dataset_path, "validation.dataset_path"},
                        {0, "downloading it again: the loss would cover only some of the samples"}, mesh.world(),
                        device);
  }
  const bool is_split = config.validates_on_split();
  const std::string& path = is_split ? config.training_pictures.dataset_path : validation.dataset_path;
  FluxDataset dataset =
      is_split && training != nullptr ? *training : open_pictures(config, path, !is_split, mesh, device);
  if (dataset.pictures->num_validation_pictures() == 0) {
    throw ConfigError("[" + printable(path) +
                      "] expected pictures that are held back from training, got none (try validation.split = 0.1, "
                      "validation_split = 0.1 in a data set of the file, or validation.dataset_path)");
  }
  return dataset;
}

void check_encodings(const FluxDataset& dataset, const FluxRunConfig& config, const flux::FluxConfig& sizes,
                     int64_t downscale) {
  check_encoded_with(dataset.shards.front().path, config.encoder);
  if (config.encoder.apply_t5_attn_mask) {
    throw ConfigError(
        str("[encoder.apply_t5_attn_mask] expected false with encoded data, which does not say how long "
            "its texts are, got true with ",
            dataset.name));
  }
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
  const int64_t img_size = config.training_pictures.img_size;
  const bool fits = downscale > 0 ? side * downscale == img_size : img_size % side == 0;
  if (side != shapes.latent_columns || side % patch != 0 || !fits) {
    fail(str("square latents of pictures of ", img_size, " pixels",
             downscale > 0 ? str(", ", downscale, " times smaller") : "", ", in patches of ", patch),
         "training.img_size");
  }
}

}  // namespace millrace
