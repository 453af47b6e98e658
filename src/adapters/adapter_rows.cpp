#include "adapters/adapter_rows.h"

#include <algorithm>

#include "adapters/adapter_roles.h"
#include "adapters/read_adapters.h"

namespace millrace {
namespace {

void take_rows(torch::Tensor& values, int64_t begin, int64_t size) {
  values = values.narrow(0, begin, size).contiguous();
}

// Each range's columns of the left matrix hold its own rows alone.
bool is_block_diagonal(const torch::Tensor& left, const std::vector<RowRange>& ranges) {
  const int64_t count = std::ssize(ranges);
  if (count < 2 || left.size(1) % count != 0) return false;
  const int64_t rank = left.size(1) / count;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t k = 0; k < count; ++k) {
      if (i == k) continue;
      const torch::Tensor block = left.narrow(0, ranges[i].begin, ranges[i].size).narrow(1, k * rank, rank);
      if (block.count_nonzero().item<int64_t>() > 0) return false;
    }
  }
  return true;
}

std::vector<AdapterTensors> products_apart(const AdapterTensors& whole, const std::vector<RowRange>& ranges) {
  const std::vector<ThinProduct> products = thin_products(whole.kind);
  const bool splits = std::all_of(products.begin(), products.end(), [&](const ThinProduct& product) {
    return is_block_diagonal(values_of(whole, product.first), ranges);
  });
  std::vector<AdapterTensors> parts;
  for (const RowRange& range : ranges) {
    AdapterTensors part = whole;
    for (const std::string& role : output_roles(whole.kind)) take_rows(values_of(part, role), range.begin, range.size);
    for (const auto& [left, right] : products) {
      if (!splits) continue;
      const int64_t rank = values_of(part, right).size(0) / std::ssize(ranges);
      const int64_t first = std::ssize(parts) * rank;
      values_of(part, left) = values_of(part, left).narrow(1, first, rank).contiguous();
      take_rows(values_of(part, right), first, rank);
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

std::optional<AdapterTensors> rows_of_lokr(AdapterTensors part, const RowRange& range) {
  const int64_t block = factor_rows(part, "w2"), first = range.begin / block;
  torch::Tensor& w1 = values_of(part, factor_row_role(part, "w1"));
  if (range.begin % block == 0 && range.size % block == 0) {
    take_rows(w1, first, range.size / block);
    return part;
  }
  if (first != (range.begin + range.size - 1) / block) return std::nullopt;
  take_rows(w1, first, 1);
  take_rows(values_of(part, factor_row_role(part, "w2")), range.begin - first * block, range.size);
  return part;
}

}  // namespace

AdapterTensors with_rows_in_order(AdapterTensors adapter) {
  for (auto& [role, tensor] : adapter.tensors) {
    tensor.values = in_model_order(tensor);
    tensor.swaps_halves = false;
  }
  return adapter;
}

std::vector<std::string> roles_of_halves(const AdapterTensors& adapter) {
  if (adapter.kind != AdapterKind::kLokr) return output_roles(adapter.kind);
  const int64_t rows = factor_rows(adapter, "w1");
  if (rows % 2 == 0) return {factor_row_role(adapter, "w1")};
  if (rows == 1) return {factor_row_role(adapter, "w2")};
  return {};
}

std::optional<AdapterTensors> with_halves_swapped(AdapterTensors adapter) {
  const std::vector<std::string> roles = roles_of_halves(adapter);
  if (roles.empty()) return std::nullopt;
  for (const std::string& role : roles) {
    FileTensor& tensor = adapter.tensors.at(role);
    tensor.values = in_model_order(FileTensor{tensor.name, tensor.values, true});
  }
  return adapter;
}

std::optional<std::vector<AdapterTensors>> take_apart(const AdapterTensors& whole,
                                                      const std::vector<RowRange>& ranges) {
  const AdapterTensors ordered = with_rows_in_order(whole);
  if (ordered.kind != AdapterKind::kLokr) return products_apart(ordered, ranges);
  std::vector<AdapterTensors> parts;
  for (const RowRange& range : ranges) {
    std::optional<AdapterTensors> part = rows_of_lokr(ordered, range);
    if (!part) return std::nullopt;
    parts.push_back(std::move(*part));
  }
  return parts;
}

}  // namespace millrace
