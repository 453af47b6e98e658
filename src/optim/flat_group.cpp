#include "optim/flat_group.h"

#include "base/error.h"
#include "base/files.h"

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
    check_buffer(group.grad, group.master);
    const auto dtype = group.master.scalar_type();
    MILLRACE_CHECK(dtype == torch::kFloat32 || dtype == torch::kBFloat16);
    if (group.model_copy.defined()) {
      check_buffer(group.model_copy, group.master);
      MILLRACE_CHECK(dtype == torch::kFloat32 && group.model_copy.scalar_type() == torch::kBFloat16);
    }
    for (const ParameterRange& range : group.parameters) {
      MILLRACE_CHECK(range.begin >= 0 && range.size >= 0 && range.begin + range.size <= group.master.numel());
    }
    for (const RoundingRange& range : group.rounding) {
      MILLRACE_CHECK(range.begin >= 0 && range.size >= 0 && range.begin + range.size <= group.master.numel());
      MILLRACE_CHECK(range.offset >= 0);
    }
  }
}

uint64_t rounding_stream(std::string_view name) {
  return checksum64(name.data(), name.size()) >> 2;
}

std::string describe_element(const FlatGroup& group, int64_t index) {
  for (const ParameterRange& range : group.parameters) {
    if (index >= range.begin && index < range.begin + range.size) {
      return range.name + "[" + std::to_string(index - range.begin + range.offset) + "]";
    }
  }
  return group.name + "[" + std::to_string(index) + "]";
}

}  // namespace millrace
