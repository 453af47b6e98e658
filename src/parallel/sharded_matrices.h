// Frozen matrices in fewer bits, sharded: each rank of the shard axis holds its slice of a unit's bytes.
//
// The tensors of a unit's matrices, codes and scales as they are stored, form one run of bytes (byte_run.h), padded so
// that it divides evenly over the ranks. Slices know nothing of rows or quantisation blocks: what is gathered is the
// run, byte for byte. The matrices are views of it while the unit is in use, and sizes alone between uses.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "comm/group.h"
#include "config/sections/ranks.h"
#include "parallel/flat_layout.h"
#include "parallel/unit_gatherer.h"

namespace millrace {

class ShardedMatrices {
 public:
  // Shards each unit's `quantised`. device: where the slices lie, that of the computation. The group outlives this.
  ShardedMatrices(const std::vector<UnitSpec>& units, Group& shard, torch::Device device, Reshard reshard);

  // Divides the bytes, which are zeros from here on. Every matrix has been assigned parts on the meta device, of the
  // sizes that its values will have: the same on every rank.
  void lay_out();
  // For plans, on the meta device: by so many bytes of each matrix.
  void lay_out(const std::function<int64_t(QuantisedWeight& matrix)>& bytes);

  // Whether any byte of the matrix is in this rank's slice, which therefore has to read it.
  bool owns(const QuantisedWeight& matrix) const;
  // Takes this rank's bytes of the parts that the matrix has been assigned, in host memory, and lets go of the parts.
  void keep(QuantisedWeight& matrix);

  int64_t own_bytes() const;         // of all slices of this rank
  int64_t bytes(size_t unit) const;  // of the whole run
  const std::vector<QuantisedWeight*>& matrices(size_t unit) const { return units_[unit].matrices; }

  // Until the unit is left its matrices have values; meanwhile those of `next` are gathered. See UnitGatherer.
  void enter(size_t unit, size_t next);
  void leave_forward(size_t unit, bool keep, bool ends_pass);
  void leave_backward(size_t unit);
  void release_all();

 private:
  struct Unit {
    std::vector<QuantisedWeight*> matrices;
    torch::Tensor own;  // uint8, 1-D: this rank's slice
  };
  struct Place {
    size_t unit = 0;
    int64_t begin = 0, size = 0;  // in the unit's run
  };
  // Of this rank, in the unit's run.
  int64_t own_begin(size_t unit) const { return shard_.rank() * units_[unit].own.numel(); }
  void let_go(size_t unit);

  Group& shard_;
  torch::Device device_;
  Reshard reshard_;
  std::vector<Unit> units_;
  std::map<const QuantisedWeight*, Place> places_;
  std::unique_ptr<UnitGatherer> gatherer_;  // null before lay_out()
};

}  // namespace millrace
