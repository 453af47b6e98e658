// A batch on its way: rows whose pictures are being decoded, and what happened to the samples between them.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "data/sample_reader.h"
#include "data/shard_index.h"

namespace millrace {

struct PlannedRow {
  std::shared_ptr<const ShardIndex> shard;
  size_t sample = 0;  // in the shard
  uint32_t epoch = 0;
  std::string caption;
  std::future<DecodeOutcome> decoded;  // of this rank's rows only
};

// One step of the sample order, in the order in which they are counted.
struct PlannedEvent {
  enum class Kind { kUsable, kSmall, kBad, kEpochEnd };
  Kind kind;
  std::string name;     // of a bad sample
  std::string problem;  // of a bad sample
};

struct PlannedBatch {
  torch::Tensor image_BCHW;  // this rank's rows; written by the tasks behind `decoded`
  size_t own_begin = 0;      // this rank's rows are rows[own_begin .. own_end)
  size_t own_end = 0;
  std::vector<PlannedRow> rows;      // of all ranks
  std::vector<PlannedEvent> events;  // up to the last row
  size_t counted = 0;                // events and rows that have been counted
  size_t counted_rows = 0;
  std::vector<size_t> failed;  // counted own rows whose picture could not be decoded
  bool complete = false;
  bool last = false;           // the epochs asked for end with it
  std::exception_ptr failure;  // what reading the next sample's shard threw

  bool owns(size_t row) const { return row >= own_begin && row < own_end; }
  float* picture(size_t row) const {
    return image_BCHW.data_ptr<float>() + static_cast<int64_t>(row - own_begin) * image_BCHW.stride(0);
  }
};

}  // namespace millrace
