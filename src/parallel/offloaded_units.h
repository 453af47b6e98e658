// Frozen units whose values lie in host memory while a pass does not use them: lora.offload_blocks.
//
// A unit travels as one run of bytes: its parameters, then the tensors of its quantised matrices, as they are stored.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "parallel/flat_layout.h"
#include "parallel/unit_fetcher.h"

namespace millrace {

struct FlatParametersOptions;

// Throws ConfigError for more blocks than the model has, and on a mesh whose ranks share the frozen weights.
void check_offload(const FlatParametersOptions& options, int64_t blocks);
// Whether `block`, counted from 0, is among the `offloaded` of all `blocks` that lie in host memory. They are spread
// evenly, so that the blocks between them leave time to copy.
bool lies_on_host(int64_t block, int64_t blocks, int64_t offloaded);

class OffloadedUnits {
 public:
  // Those of the units that are `offloaded`, with zeros in host memory. options: dtype and device of the computation;
  // on the meta device there are sizes only.
  OffloadedUnits(const std::vector<UnitSpec>& units, const FlatLayout& layout, const torch::TensorOptions& options);

  bool has(size_t unit) const { return units_.contains(unit); }
  // Elements of the parameters of offloaded units before this one.
  int64_t elements_before(size_t unit) const;
  // The values of its parameters in host memory, 1-D.
  const torch::Tensor& values(size_t unit) const { return units_.at(unit).values; }
  const std::vector<QuantisedWeight*>& quantised(size_t unit) const { return units_.at(unit).quantised; }

  // Until leave() the unit's quantised matrices lie on the device, as does what is returned: its parameters, 1-D.
  // From the first call on, values are not to change.
  torch::Tensor enter(size_t unit);
  void leave(size_t unit);
  // See UnitFetcher.
  void fetch_after(size_t unit, UnitFetcher::Direction direction);
  int64_t buffer_bytes() const { return fetcher_ ? fetcher_->buffer_bytes() : 0; }

 private:
  struct Unit {
    torch::Tensor values;
    std::vector<QuantisedWeight*> quantised;
  };
  // Joins the tensors of every unit, one unit after the other, in memory that the device can read.
  void pack();
  // Makes the unit's matrices views of its bytes, and returns its parameters, another view. copy: puts their values
  // there first.
  static torch::Tensor place(const Unit& unit, const torch::Tensor& bytes, bool copy);

  torch::Device device_;
  std::map<size_t, Unit> units_;
  std::unique_ptr<UnitFetcher> fetcher_;  // null before the first use
};

}  // namespace millrace
