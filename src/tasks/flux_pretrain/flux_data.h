// The data sets that a configuration names, and what FLUX must be told of their samples.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/dataset_kind.h"
#include "config/run_config.h"
#include "data/encoding_decoder.h"
#include "data/shard_list.h"
#include "models/flux/config.h"

namespace millrace {

struct FluxDataset {
  const DatasetKind* kind = nullptr;
  std::string name;  // where it is, for messages
  std::vector<ShardFile> shards;
  std::optional<EncodingShapes> shapes;  // of encoded samples
};

// Both throw ConfigError where the configuration names none, DataError where nothing usable is there.
FluxDataset training_dataset(const RunConfig& config);
FluxDataset validation_dataset(const RunConfig& config);

// Throws ModelError where encoded samples are not what a model of these sizes takes, or where pictures of
// training.img_size cannot have led to their latents. downscale: of the autoencoder, 0: not loaded.
void check_encodings(const FluxDataset& dataset, const RunConfig& config, const flux::FluxConfig& sizes,
                     int64_t downscale);

}  // namespace millrace
