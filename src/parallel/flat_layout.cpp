#include "parallel/flat_layout.h"

#include <algorithm>

#include "base/error.h"

namespace millrace {
namespace {

constexpr int64_t kAlignment = 64;  // elements; a cache line or more in every dtype

int64_t align(int64_t position, int64_t multiple) {
  return (position + multiple - 1) / multiple * multiple;
}

}  // namespace

FlatLayout::FlatLayout(const std::vector<UnitSpec>& units, int shard_size, int shard_rank, int tp_size, int tp_rank)
    : shard_size_(shard_size), shard_rank_(shard_rank) {
  MILLRACE_CHECK(shard_size >= 1 && shard_rank >= 0 && shard_rank < shard_size);
  MILLRACE_CHECK(tp_size >= 1 && tp_rank >= 0 && tp_rank < tp_size);
  for (const UnitSpec& spec : units) {
    MILLRACE_CHECK(spec.splits.empty() || spec.splits.size() == spec.parameters.size());
    ParameterUnit unit{spec.name, size_, 0, slices_.size(), 0};
    for (size_t i = 0; i < spec.parameters.size(); ++i) {
      const auto& [name, tensor] = spec.parameters[i];
      if (!spec.packed) size_ = align(size_, kAlignment);
      ParameterSlice slice{name, tensor.sizes().vec(), size_, tensor.numel(), {{}, tp_size, tp_rank}, units_.size()};
      if (!spec.splits.empty()) slice.part.split = spec.splits[i];
      MILLRACE_CHECK(slice.part.shape(slice.part.global_shape(slice.shape)) == slice.shape);
      num_parameters_ += c10::multiply_integers(slice.part.global_shape(slice.shape));
      size_ += slice.size;
      slices_.push_back(std::move(slice));
    }
    size_ = align(size_, kAlignment * shard_size_);
    unit.size = size_ - unit.begin;
    unit.end_slice = slices_.size();
    unit.packed = spec.packed;
    units_.push_back(std::move(unit));
  }
}

torch::Tensor FlatLayout::own_part(const torch::Tensor& flat, size_t unit) const {
  return flat.narrow(0, own_begin(unit), own_size(unit));
}

OwnRange FlatLayout::own_range(const ParameterSlice& slice) const {
  const int64_t length = own_size(slice.unit);
  const int64_t own = units_[slice.unit].begin + shard_rank_ * length;  // in the whole layout
  const int64_t begin = std::max(slice.begin, own), end = std::min(slice.begin + slice.size, own + length);
  if (begin >= end) return {};
  return {begin - slice.begin, end - slice.begin, own_begin(slice.unit) + begin - own};
}

}  // namespace millrace
