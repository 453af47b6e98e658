#include "optim/flat_group.h"

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"

namespace millrace {
namespace {

void check_buffer(const torch::Tensor& buffer, const torch::Tensor& master) {
  MILLRACE_CHECK(buffer.defined() && buffer.dim() == 1 && buffer.is_contiguous());
  MILLRACE_CHECK(buffer.numel() == master.numel() && buffer.device() == master.device());
}

}  // namespace

void check_groups(const std::vector<FlatGroup>& groups) {
  for (const FlatGroup& group : groups) {
    check_buffer(group.master, group.master);
    if (group.grad.defined()) check_buffer(group.grad, group.master);
    const auto dtype = group.master.scalar_type();
    MILLRACE_CHECK(dtype == torch::kFloat32 || dtype == torch::kBFloat16);
    if (group.model_copy.defined()) {
      check_buffer(group.model_copy, group.master);
      MILLRACE_CHECK(dtype == torch::kFloat32 && group.model_copy.scalar_type() == torch::kBFloat16);
    }
    for (const ParameterRange& range : group.parameters) {
      MILLRACE_CHECK(range.begin >= 0 && range.size >= 0);
      const int64_t end = range.is_box() ? (range.shape[0] - 1) * range.row_stride + range.shape[1] : range.size;
      MILLRACE_CHECK(range.begin + end <= group.master.numel());
    }
    for (const RoundingRange& range : group.rounding) {
      MILLRACE_CHECK(range.begin >= 0 && range.size >= 0 && range.begin + range.size <= group.master.numel());
      MILLRACE_CHECK(range.offset >= 0);
    }
  }
}

std::vector<RoundingRange> rounding_ranges(const FlatGroup& group, bool stochastic) {
  if (stochastic && group.master.scalar_type() != torch::kFloat32 && !group.rounding.empty()) return group.rounding;
  return {{rounding_stream(group.name), 0, group.master.numel(), 0}};
}

uint64_t rounding_stream(std::string_view name) {
  return checksum64(name.data(), name.size()) >> 2;
}

std::vector<ParameterRange> parameters_or_whole(const FlatGroup& group) {
  if (!group.parameters.empty() || !group.whole_parameters.empty()) return group.parameters;
  return {{.name = group.name, .size = group.master.numel(), .global_shape = {group.master.numel()}}};
}

std::vector<WholeParameter> whole_parameters_of(const FlatGroup& group) {
  if (!group.whole_parameters.empty()) return group.whole_parameters;
  std::vector<WholeParameter> whole;
  for (const ParameterRange& range : parameters_or_whole(group)) whole.push_back({range.name, range.global_shape});
  return whole;
}

torch::Tensor ParameterRange::view(const torch::Tensor& flat) const {
  if (!is_box()) return flat.narrow(0, begin, size);
  return flat.as_strided(shape, {row_stride, 1}, flat.storage_offset() + begin);
}

std::string describe_element(const FlatGroup& group, int64_t index) {
  for (const ParameterRange& range : group.parameters) {
    const int64_t inside = index - range.begin;
    if (range.is_box()) {
      const int64_t row = inside / range.row_stride, column = inside % range.row_stride;
      if (inside < 0 || row >= range.shape[0] || column >= range.shape[1]) continue;
      return str(range.name, "[", range.start[0] + row, ", ", range.start[1] + column, "]");
    }
    if (inside >= 0 && inside < range.size) return str(range.name, "[", inside + range.offset, "]");
  }
  return str(group.name, "[", index, "]");
}

}  // namespace millrace
