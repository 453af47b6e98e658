// The data sets that a configuration names, and what FLUX must be told of their samples.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/mesh.h"
#include "config/run_config.h"
#include "data/dataset_kind.h"
#include "data/encoding_decoder.h"
#include "data/shard_list.h"
#include "diffusion/flux_run_config.h"
#include "models/flux/config.h"

namespace millrace {

struct FluxDataset {
  const DatasetKind* kind = nullptr;
  std::string name;  // where it is, for messages
  std::vector<ShardFile> shards;
  std::optional<EncodingShapes> shapes;  // of encoded samples
};

// Both throw ConfigError where the configuration names none, DataError where nothing usable is there. Of the files to
// train on training.max_bad_samples may be no shards, of those to validate on none.
FluxDataset training_dataset(const FluxRunConfig& config, Group& ranks, torch::Device device);
FluxDataset validation_dataset(const FluxRunConfig& config, Group& ranks, torch::Device device);

// Throws ModelError where encoded samples are not what a model of these sizes takes, or where pictures of
// training.img_size cannot have led to their latents. downscale: of the autoencoder, 0: not loaded.
void check_encodings(const FluxDataset& dataset, const FluxRunConfig& config, const flux::FluxConfig& sizes,
                     int64_t downscale);

}  // namespace millrace
