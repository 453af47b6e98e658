// A batch in preparation: rows being decoded, and the events of the samples between them.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "data/sample_decoder.h"
#include "data/sample_shard.h"

namespace millrace {

struct PlannedRow {
  std::shared_ptr<const SampleShard> shard;
  size_t sample = 0;  // in the shard
  uint32_t epoch = 0;
  std::string caption;
  int64_t timestep = -1;
  std::future<DecodeOutcome> decoded;  // of this rank's rows only
};

// One step of the sample order, in the order of counting.
struct PlannedEvent {
  enum class Kind { kUsable, kSmall, kBad, kEpochEnd };
  Kind kind;
  std::string name;     // of a bad sample
  std::string problem;  // of a bad sample
};

struct PlannedBatch {
  std::vector<torch::Tensor> fields;  // this rank's rows; written by the tasks behind `decoded`
  size_t own_begin = 0;               // this rank's rows are rows[own_begin .. own_end)
  size_t own_end = 0;
  std::vector<PlannedRow> rows;      // of all ranks
  std::vector<PlannedEvent> events;  // up to the last row
  size_t counted = 0;                // events and rows that have been counted
  size_t counted_rows = 0;
  std::vector<size_t> failed;  // counted own rows that could not be decoded
  bool complete = false;
  bool last = false;           // the requested epochs end with it
  std::exception_ptr failure;  // thrown while reading the next sample's shard

  bool owns(size_t row) const { return row >= own_begin && row < own_end; }
  // Pointers to a row's part of each field.
  std::vector<void*> places(size_t row) const {
    std::vector<void*> places;
    for (const torch::Tensor& field : fields) {
      const auto bytes = static_cast<size_t>(field.stride(0)) * field.element_size();
      places.push_back(static_cast<std::byte*>(field.data_ptr()) + (row - own_begin) * bytes);
    }
    return places;
  }
};

}  // namespace millrace
