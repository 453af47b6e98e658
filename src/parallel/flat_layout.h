// The position of every parameter in flat buffers: arithmetic only, no memory.
//
// A unit is gathered, released, recomputed and stepped as a whole: a transformer block. The whole layout is the
// concatenation of all units, each padded so that it divides evenly over the ranks of the shard axis; a rank holds the
// concatenation of its parts.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <torch/types.h>

#include "parallel/tensor_split.h"

namespace millrace {

class QuantisedWeight;

struct UnitSpec {
  std::string name;
  std::vector<std::pair<std::string, torch::Tensor>> parameters;  // qualified name and the module's tensor, in order
  // Back to back, so that equal-width matrices form one; otherwise each parameter starts on its own cache line.
  bool packed = false;
  // How tensor parallelism splits each parameter; empty: all are whole. The tensors have the shape of this rank's part.
  std::vector<TensorSplit> splits = {};
  // A frozen unit may lie in host memory, with its quantised matrices, while no pass uses it (offloaded_units.h).
  bool offloaded = false;
  std::vector<QuantisedWeight*> quantised = {};
};

// A parameter's position, in elements from the start of the whole layout (of this rank's index on the tp axis).
struct ParameterSlice {
  std::string name;
  std::vector<int64_t> shape;  // of this rank's part on the tp axis
  int64_t begin = 0;
  int64_t size = 0;
  TensorPart part = {};
  size_t unit = 0;
};

struct ParameterUnit {
  std::string name;
  int64_t begin = 0;
  int64_t size = 0;  // with padding
  size_t first_slice = 0, end_slice = 0;
  bool packed = false;
};

// Elements [begin, end) of one parameter, stored at `local` in this rank's flat buffers. Empty: begin == end.
struct OwnRange {
  int64_t begin = 0, end = 0, local = 0;
};

class FlatLayout {
 public:
  FlatLayout(const std::vector<UnitSpec>& units, int shard_size, int shard_rank, int tp_size, int tp_rank);

  const std::vector<ParameterUnit>& units() const { return units_; }
  const std::vector<ParameterSlice>& slices() const { return slices_; }
  int64_t size() const { return size_; }                      // of the whole layout
  int64_t own_size() const { return size_ / shard_size_; }    // of one rank's buffers
  int64_t num_parameters() const { return num_parameters_; }  // of the whole model, without padding

  // The position of a unit's part in this rank's buffers, and its length.
  int64_t own_begin(size_t unit) const { return units_[unit].begin / shard_size_; }
  int64_t own_size(size_t unit) const { return units_[unit].size / shard_size_; }
  torch::Tensor own_part(const torch::Tensor& flat, size_t unit) const;

  OwnRange own_range(const ParameterSlice& slice) const;

 private:
  int64_t shard_size_, shard_rank_;
  std::vector<ParameterUnit> units_;
  std::vector<ParameterSlice> slices_;
  int64_t size_ = 0, num_parameters_ = 0;
};

}  // namespace millrace
