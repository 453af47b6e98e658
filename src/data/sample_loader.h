// Batches of samples from the files of a data set.
//
// The order of the samples is a function of (data set, seed, epoch) alone: not of the number of ranks, of threads or of
// the batch size. Samples are read and decoded by a pool of threads ahead of the step.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/bad_samples.h"
#include "data/sample_decoder.h"
#include "data/shard_list.h"

namespace millrace {

struct SampleLoaderOptions {
  std::vector<ShardFile> shards;  // see list_shards()
  int64_t subset_size = 0;        // use only the first samples in shard order, this many; 0: all
  int64_t batch_size = 8;         // samples per batch over all ranks
  int rank = 0;                   // this rank's rows of a batch are [rank * batch_size / world_size, (rank + 1) * ...)
  int world_size = 1;

  uint64_t seed = 0;
  bool shuffle = true;                 // shards, and samples within a buffer
  int64_t shuffle_buffer_size = 1000;  // samples to draw from; the buffer holds their positions, not the samples
  int64_t epochs = 0;                  // 0: endless, and batches straddle epochs; else the last batch may be short

  BadSampleLimit bad_samples;  // how many may be skipped before the run stops
  // true: everything lost at the end of a truncated file counts as one bad sample; false: it is an error.
  bool allow_damaged_shards = true;

  int num_workers = 0;       // threads that decode; 0: one per CPU core, at most 8
  int prefetch_batches = 2;  // batches prepared ahead of the one being used
  bool pinned = false;       // batches in memory that a GPU can copy from by itself
};

struct SampleBatch {
  std::vector<torch::Tensor> fields;  // as the decoder says, with B = this rank's rows as dimension 0
  std::vector<std::string> captions;  // [B] if the decoder reads them
  std::vector<std::string> keys;      // [B] the samples' names in their shards
  std::vector<uint64_t> sample_ids;   // [B] the same on every rank and in every epoch
  std::vector<int64_t> timesteps;     // [B] of validation; -1: none
  std::vector<uint32_t> epochs;       // [B]
  std::vector<int64_t> rows;          // [B] the sample's row in the batch over all ranks, from 0
  int64_t global_rows = 0;            // rows over all ranks; less than batch_size only at the end of the last epoch
  bool end_of_data = false;           // there is no batch: the requested epochs are over
};

class SampleLoader {
 public:
  // Throws DataError when a shard that it has to inspect cannot be read.
  SampleLoader(SampleLoaderOptions options, std::unique_ptr<const SampleDecoder> decoder);
  ~SampleLoader();

  // The next batch. Throws DataError when too many samples are bad or an epoch holds nothing usable.
  SampleBatch next();

  // JSON: the position after the batch that next() returned last. Batch size and ranks may differ at restore().
  std::string position() const;
  // Throws DataError when the position belongs to another data set, seed or shuffle buffer.
  void restore(const std::string& position);

  // Covers the samples up to the batch that next() returned last.
  BadSampleReport bad_samples() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
