// `millrace prepare encode`: every sample of a data set through T5, CLIP and the autoencoder, once.
//
// The result is a Hugging Face `datasets` folder of Arrow files with the columns of MLPerf's preprocessed sets. Samples
// keep their order whatever the number of ranks. A file gets its name once it is complete; after a kill, the command
// redoes only incomplete files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "comm/world.h"
#include "diffusion/flux_run_config.h"

namespace millrace {

struct EncodeOptions {
  std::filesystem::path output;
  bool allow_damaged_shards = false;  // use the intact part of truncated files
  int64_t rows_per_file = 0;          // samples per file; 0: as many as fill about 500 MB, at most 10,000
  // Samples finished by all ranks, including those of earlier runs; called on rank 0.
  std::function<void(int64_t done, int64_t total)> progress;
};

struct EncodeSummary {
  int64_t rows = 0, bad = 0, small = 0;
  int64_t files = 0;
  int64_t encoded_now = 0;  // samples that this run went through
};

// Called on every rank; only rank 0 returns a summary. Throws ConfigError when the folder holds something else, or
// encodings of other samples, encoders or options; DataError when no sample is usable or too many are bad.
EncodeSummary encode_dataset(const FluxRunConfig& config, const EncodeOptions& options, const World& world,
                             const std::string& version);

}  // namespace millrace
