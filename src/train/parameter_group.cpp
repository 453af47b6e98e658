#include "train/parameter_group.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/log.h"

namespace millrace {

FlatGroup parameter_group(const FlatParameters& parameters) {
  FlatGroup group{"parameters", parameters.master(), parameters.grad(), {}};
  if (!parameters.compute().is_same(parameters.master())) group.model_copy = parameters.compute();
  for (ParameterPiece& piece : parameters.pieces()) {
    group.parameters.push_back({.name = std::move(piece.name),
                                .begin = piece.begin,
                                .size = piece.size,
                                .offset = piece.offset,
                                .global_shape = std::move(piece.global_shape),
                                .start = std::move(piece.start),
                                .shape = std::move(piece.shape),
                                .row_stride = piece.row_stride,
                                .primary = piece.primary});
  }
  for (const ParameterSlice& slice : parameters.slices()) {
    group.whole_parameters.push_back({slice.name, slice.part.global_shape(slice.shape)});
    const OwnRange own = parameters.layout().own_range(slice);
    if (own.begin == own.end) continue;
    // Ranks with the same elements round them the same way, for any sharding; tp parts have their own streams.
    const std::string name = slice.part.is_whole() ? slice.name : str(slice.name, "/", slice.part.index);
    group.rounding.push_back({rounding_stream(name), own.local, own.end - own.begin, own.begin});
  }
  return group;
}

namespace {

// The elements [begin, end) of a group's buffers as a group of their own.
FlatGroup part_of(const FlatGroup& whole, int64_t begin, int64_t end) {
  FlatGroup part;
  part.master = whole.master.narrow(0, begin, end - begin);
  if (whole.grad.defined()) part.grad = whole.grad.narrow(0, begin, end - begin);
  if (whole.model_copy.defined()) part.model_copy = whole.model_copy.narrow(0, begin, end - begin);
  for (ParameterRange range : whole.parameters) {
    if (range.begin < begin || range.begin >= end) continue;
    range.begin -= begin;
    part.parameters.push_back(std::move(range));
  }
  for (RoundingRange range : whole.rounding) {
    if (range.begin < begin || range.begin >= end) continue;
    range.begin -= begin;
    part.rounding.push_back(range);
  }
  return part;
}

}  // namespace

std::vector<FlatGroup> parameter_groups(const FlatParameters& parameters, const std::vector<RateGroup>& rates,
                                        const torch::Tensor& grad) {
  FlatGroup whole = parameter_group(parameters);
  whole.grad = grad;
  if (rates.empty()) return {whole};
  std::vector<FlatGroup> groups;
  auto range = whole.parameters.begin();            // this rank's, which a group's follow each other in
  auto described = whole.whole_parameters.begin();  // all ranks'
  int64_t begin = 0;
  for (const RateGroup& rate : rates) {
    std::vector<WholeParameter> own;
    for (const std::string& name : rate.parameters) {
      MILLRACE_CHECK(described != whole.whole_parameters.end() && described->name == name);
      own.push_back(*described++);
    }
    const auto is_own = [&](const ParameterRange& each) {
      return std::any_of(own.begin(), own.end(), [&](const WholeParameter& one) { return one.name == each.name; });
    };
    const auto next = std::find_if_not(range, whole.parameters.end(), is_own);
    // Padding belongs to the group before it: it is zero, and stays so.
    const int64_t end = next == whole.parameters.end() ? whole.master.numel() : next->begin;
    FlatGroup group = part_of(whole, begin, range == next ? begin : end);
    if (range != next) begin = end;
    group.name = rate.name;
    group.lr_factor = rate.lr_factor;
    group.whole_parameters = std::move(own);
    groups.push_back(std::move(group));
    range = next;
  }
  MILLRACE_CHECK(range == whole.parameters.end() && described == whole.whole_parameters.end());
  return groups;
}

std::vector<FlatGroup> unit_groups(const FlatParameters& parameters) {
  const FlatGroup whole = parameter_group(parameters);
  std::vector<FlatGroup> groups;
  for (const ParameterUnit& unit : parameters.units()) {
    FlatGroup group = part_of(whole, unit.begin, unit.begin + unit.size);
    group.name = unit.name;
    for (size_t i = unit.first_slice; i < unit.end_slice; ++i)
      group.whole_parameters.push_back(whole.whole_parameters[i]);
    groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace millrace
