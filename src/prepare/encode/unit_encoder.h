// One unit of work: a range of samples becomes one Arrow file of encodings.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "data/bad_samples.h"
#include "data/dataset_kind.h"
#include "data/sample_decoder.h"
#include "data/shard_cache.h"
#include "formats/arrow_writer.h"
#include "prepare/encode/encode_networks.h"
#include "prepare/encode/sample_table.h"

namespace millrace {

// __key__, t5_encodings, clip_encodings, mean, logvar, timestep: the columns of MLPerf's preprocessed data sets.
const std::vector<ArrowColumnSpec>& encoding_columns();

struct UnitEncoderOptions {
  int64_t batch_size = 8;
  int64_t img_size = 256;
  int num_workers = 1;  // threads that read and decode pictures
  uint64_t seed = 0;    // for the position of the random crop of pictures that are not square
  BadSampleLimit bad_samples;
};

inline constexpr size_t kMaxProblems = 20;  // that a report tells

// The results for a unit's samples.
struct UnitReport {
  int64_t rows = 0;
  int64_t bad = 0;
  int64_t small = 0;                  // pictures below img_size, which are left out of training sets
  std::vector<std::string> problems;  // of the first few bad samples
};

class UnitEncoder {
 public:
  UnitEncoder(const UnitEncoderOptions& options, const DatasetKind& kind, ShardCache& cache, const SampleTable& table,
              EncodeNetworks& networks);
  ~UnitEncoder();

  // Encodes the samples into file, which gets that name once it is complete, after committing(report). calls: the
  // minimum number of calls of encode_samples() or join_collectives(); done(n): n more samples are finished.
  // The file is completed in the background: wait_for_files(). Throws DataError when too many samples are bad.
  void encode(const SampleRange& unit, const std::filesystem::path& file, int64_t calls,
              const std::function<void(const UnitReport&)>& committing, const std::function<void(int64_t)>& done);
  // Waits until all files have their names. Throws the first error.
  void wait_for_files();

 private:
  struct Row;
  struct Batch;
  std::vector<Row> check(const SampleRange& unit, UnitReport& report);
  Batch start_decoding(std::vector<Row> rows);
  std::vector<size_t> finish_decoding(Batch& batch, UnitReport& report);
  void write_later(std::function<void()> work);

  UnitEncoderOptions options_;
  const DatasetKind& kind_;
  ShardCache& cache_;
  const SampleTable& table_;
  EncodeNetworks& networks_;
  std::unique_ptr<const SampleDecoder> decoder_;
  BadSampleCounter counter_;
  ThreadPool workers_;
  ThreadPool writer_;
  std::future<void> writing_;
};

}  // namespace millrace
