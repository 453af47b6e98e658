// The data sets that a configuration names, and what FLUX must know about their samples.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/mesh.h"
#include "config/run_config.h"
#include "data/dataset_kind.h"
#include "data/encoding_decoder.h"
#include "data/shard_list.h"
#include "diffusion/flux_run_config.h"
#include "diffusion/picture_data.h"
#include "models/flux/config.h"

namespace millrace {

struct FluxDataset {
  const DatasetKind* kind = nullptr;
  std::string name;  // its location, for messages
  std::vector<ShardFile> shards;
  std::optional<EncodingShapes> shapes;         // of encoded samples
  std::shared_ptr<const PictureData> pictures;  // of data sets of pictures in folders, which have no shards
};

// Both throw ConfigError if the configuration names no data set, DataError if nothing usable is found. A fraction
// training.max_bad_samples of the training files may not be shards; every validation file must be one. Of pictures in
// folders, validation takes what validation.split or the file's validation_split holds back of the training data
// (training, if it was opened), or the data set that validation.dataset_path names: the part that its file holds back,
// else all of it.
FluxDataset training_dataset(const FluxRunConfig& config, Mesh& mesh, torch::Device device);
FluxDataset validation_dataset(const FluxRunConfig& config, const FluxDataset* training, Mesh& mesh,
                               torch::Device device);

// Throws ModelError if encoded samples do not fit a model of these sizes, or if their latents cannot come from pictures
// of training.img_size. downscale: of the autoencoder, 0: not loaded.
void check_encodings(const FluxDataset& dataset, const FluxRunConfig& config, const flux::FluxConfig& sizes,
                     int64_t downscale);

}  // namespace millrace
