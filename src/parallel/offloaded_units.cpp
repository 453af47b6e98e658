#include "parallel/offloaded_units.h"

#include "base/error.h"
#include "base/log.h"
#include "comm/mesh.h"
#include "nn/quantised_weight.h"
#include "parallel/byte_run.h"
#include "parallel/flat_parameters.h"

namespace millrace {

void check_offload(const FlatParametersOptions& options, int64_t blocks) {
  if (options.offload_blocks == 0) return;
  MILLRACE_CHECK(!options.training);
  if (options.offload_blocks > blocks) {
    throw ConfigError(str("[lora.offload_blocks] expected at most ", blocks, ", as many blocks as the model has, got ",
                          options.offload_blocks, " (try auto)"));
  }
  const int ranks = options.mesh ? options.mesh->shard().size() : 1;
  if (ranks > 1) {
    throw ConfigError(str("[lora.offload_blocks] expected 0 where ", ranks,
                          " ranks share the frozen weights, which leaves a part of every block to each, got ",
                          options.offload_blocks, " (try parallelism.data_parallel_replicate_degree=", ranks,
                          " with parallelism.data_parallel_shard_degree=1)"));
  }
}

bool lies_on_host(int64_t block, int64_t blocks, int64_t offloaded) {
  return (block + 1) * offloaded / blocks > block * offloaded / blocks;
}

OffloadedUnits::OffloadedUnits(const std::vector<UnitSpec>& units, const FlatLayout& layout,
                               const torch::TensorOptions& options)
    : device_(options.device()) {
  const torch::Dtype dtype = c10::typeMetaToScalarType(options.dtype());
  std::map<size_t, torch::Tensor> sizes;
  for (size_t number = 0; number < units.size(); ++number) {
    if (!units[number].offloaded) continue;
    const int64_t size = layout.own_size(number);
    const torch::Tensor values = device_.is_meta() ? without_memory(size, dtype) : torch::zeros({size}, dtype);
    units_[number] = {values, units[number].quantised};
    for (QuantisedWeight* weight : units[number].quantised) weight->keep_on_host();
    sizes[number] = without_memory(bytes_in_run(values), torch::kUInt8);
  }
  // For plans; the bytes of quantised matrices are counted there.
  if (device_.is_meta()) fetcher_ = std::make_unique<UnitFetcher>(std::move(sizes), CopyStream(device_));
}

int64_t OffloadedUnits::elements_before(size_t unit) const {
  int64_t sum = 0;
  for (auto before = units_.begin(); before != units_.lower_bound(unit); ++before) sum += before->second.values.numel();
  return sum;
}

torch::Tensor OffloadedUnits::place(const Unit& unit, const torch::Tensor& bytes, bool copy) {
  ByteRun run(bytes);
  const auto placed = [&](const torch::Tensor& x) {
    const torch::Tensor view = run.next(x.sizes(), x.scalar_type());
    if (copy) view.copy_(x);
    return view;
  };
  const torch::Tensor values = placed(unit.values);
  for (QuantisedWeight* weight : unit.quantised) weight->replace_tensors(placed);
  return values;
}

void OffloadedUnits::pack() {
  const CopyStream copies(device_);
  std::map<size_t, torch::Tensor> host;
  for (auto& [number, unit] : units_) {
    int64_t size = bytes_in_run(unit.values);
    for (QuantisedWeight* weight : unit.quantised) {
      weight->replace_tensors([&](const torch::Tensor& x) {
        size += bytes_in_run(x);
        return x;
      });
    }
    host[number] = copies.host_memory(size);
    unit.values = place(unit, host[number], /*copy=*/true);
  }
  fetcher_ = std::make_unique<UnitFetcher>(std::move(host), copies);
}

torch::Tensor OffloadedUnits::enter(size_t unit) {
  if (!fetcher_) pack();
  return place(units_.at(unit), fetcher_->enter(unit), /*copy=*/false);
}

void OffloadedUnits::leave(size_t unit) {
  fetcher_->leave();
  if (device_.is_meta()) return;  // what has no memory cannot be viewed, and nothing reads it
  place(units_.at(unit), fetcher_->host(unit), /*copy=*/false);
}

void OffloadedUnits::fetch_after(size_t unit, UnitFetcher::Direction direction) {
  if (!fetcher_) pack();
  fetcher_->fetch_after(unit, direction);
}

}  // namespace millrace
