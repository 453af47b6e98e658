#include "parallel/sharded_matrices.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/round_up.h"
#include "nn/quantised_weight.h"
#include "parallel/byte_run.h"

namespace millrace {
namespace {

constexpr int64_t kRunAlignment = 256;  // of a matrix in the run, and of slices

// The same tensor as a size alone.
torch::Tensor without_values(const torch::Tensor& x) {
  return torch::empty(x.sizes(), torch::TensorOptions().dtype(x.dtype()).device(torch::kMeta));
}

}  // namespace

ShardedMatrices::ShardedMatrices(const std::vector<UnitSpec>& units, Group& shard, torch::Device device,
                                 Reshard reshard)
    : shard_(shard), device_(device), reshard_(reshard) {
  for (const UnitSpec& unit : units) units_.push_back({unit.quantised, {}});
}

void ShardedMatrices::lay_out() {
  lay_out([](QuantisedWeight& matrix) {
    int64_t bytes = 0;
    matrix.replace_tensors([&](const torch::Tensor& x) {
      bytes += bytes_in_run(x);
      return x;
    });
    MILLRACE_CHECK(bytes > 0);
    return bytes;
  });
}

void ShardedMatrices::lay_out(const std::function<int64_t(QuantisedWeight& matrix)>& bytes) {
  std::vector<torch::Tensor> parts;
  for (size_t number = 0; number < units_.size(); ++number) {
    int64_t size = 0;
    for (QuantisedWeight* matrix : units_[number].matrices) {
      const Place place{number, size, round_up(bytes(*matrix), kRunAlignment)};
      places_[matrix] = place;
      size += place.size;
    }
    const int64_t own = round_up(size, kRunAlignment * shard_.size()) / shard_.size();
    units_[number].own = torch::zeros({own}, torch::TensorOptions().dtype(torch::kUInt8).device(device_));
    parts.push_back(units_[number].own);
  }
  gatherer_ = std::make_unique<UnitGatherer>(std::move(parts), shard_, reshard_);
}

bool ShardedMatrices::owns(const QuantisedWeight& matrix) const {
  const Place& place = places_.at(&matrix);
  const int64_t begin = own_begin(place.unit), end = begin + units_[place.unit].own.numel();
  return place.begin < end && begin < place.begin + place.size;
}

void ShardedMatrices::keep(QuantisedWeight& matrix) {
  const Place& place = places_.at(&matrix);
  const torch::Tensor& own = units_[place.unit].own;
  int64_t position = place.begin - own_begin(place.unit);  // in this rank's slice
  matrix.replace_tensors([&](const torch::Tensor& x) {
    const torch::Tensor bytes = x.reshape({-1}).view(torch::kUInt8);
    const int64_t begin = std::max<int64_t>(position, 0), end = std::min(position + bytes.numel(), own.numel());
    if (begin < end) own.narrow(0, begin, end - begin).copy_(bytes.narrow(0, begin - position, end - begin));
    position += bytes_in_run(x);
    return without_values(x);
  });
  MILLRACE_CHECK(position + own_begin(place.unit) == place.begin + place.size);
}

int64_t ShardedMatrices::own_bytes() const {
  int64_t sum = 0;
  for (const Unit& unit : units_) sum += unit.own.numel();
  return sum;
}

int64_t ShardedMatrices::bytes(size_t unit) const {
  return units_[unit].own.numel() * shard_.size();
}

void ShardedMatrices::enter(size_t unit, size_t next) {
  MILLRACE_CHECK(gatherer_ != nullptr);
  const torch::Tensor& whole = gatherer_->enter(unit, next);
  if (units_[unit].matrices.empty()) return;
  ByteRun run(whole);
  for (QuantisedWeight* matrix : units_[unit].matrices) {
    matrix->replace_tensors([&](const torch::Tensor& x) { return run.next(x.sizes(), x.scalar_type()); });
  }
}

void ShardedMatrices::leave_forward(size_t unit, bool keep, bool ends_pass) {
  let_go(unit);
  gatherer_->leave_forward(unit, keep, ends_pass);
}

void ShardedMatrices::leave_backward(size_t unit) {
  let_go(unit);
  gatherer_->leave_backward(unit);
}

void ShardedMatrices::release_all() {
  if (gatherer_) gatherer_->release_all();
}

void ShardedMatrices::let_go(size_t unit) {
  for (QuantisedWeight* matrix : units_[unit].matrices) matrix->replace_tensors(without_values);
}

}  // namespace millrace
