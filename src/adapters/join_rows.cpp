#include "adapters/join_rows.h"

#include <algorithm>
#include <optional>

#include "adapters/adapter_roles.h"
#include "adapters/adapter_rows.h"
#include "adapters/as_lora.h"
#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

using Parts = std::vector<AdapterTensors>;

bool are_equal(const Parts& parts, const std::string& role) {
  const AdapterTensors& first = parts.front();
  return std::all_of(parts.begin(), parts.end(), [&](const AdapterTensors& part) {
    if (part.tensors.count(role) != first.tensors.count(role)) return false;
    if (!part.tensors.count(role)) return true;
    const torch::Tensor &own = values_of(part, role), &other = values_of(first, role);
    return own.sizes() == other.sizes() && at::equal(own, other);
  });
}

// A Kronecker factor, whole or not.
bool have_equal_factor(const Parts& parts, const std::string& factor) {
  return are_equal(parts, factor) && are_equal(parts, factor + "_a") && are_equal(parts, factor + "_b");
}

// That holds every part's numbers: products made here are in fp32, others as in the file.
torch::TensorOptions common_options(const Parts& parts, const std::string& role) {
  torch::ScalarType dtype = values_of(parts.front(), role).scalar_type();
  for (const AdapterTensors& part : parts) dtype = at::promote_types(dtype, values_of(part, role).scalar_type());
  return values_of(parts.front(), role).options().dtype(dtype);
}

// The matrices of one role below each other. step: the outputs that a row stands for; rows of none are zero.
torch::Tensor stacked(const Parts& parts, const std::string& role, int64_t rows, int64_t step) {
  torch::Tensor all = torch::zeros({rows, values_of(parts.front(), role).size(1)}, common_options(parts, role));
  for (const AdapterTensors& part : parts) {
    const torch::Tensor& own = values_of(part, role);
    all.narrow(0, part.row_begin / step, own.size(0)).copy_(own);
  }
  return all;
}

void join_product(AdapterTensors& joined, const Parts& parts, const ThinProduct& product, int64_t rows,
                  int64_t step = 1) {
  const auto& [left, right] = product;
  if (are_equal(parts, right)) {
    values_of(joined, left) = stacked(parts, left, rows, step);
    return;
  }
  std::vector<torch::Tensor> rights;
  int64_t rank = 0, column = 0;
  for (const AdapterTensors& part : parts) {
    rights.push_back(values_of(part, right));
    rank += rights.back().size(0);
  }
  torch::Tensor all = torch::zeros({rows, rank}, common_options(parts, left));
  for (const AdapterTensors& part : parts) {
    const torch::Tensor& own = values_of(part, left);
    all.narrow(0, part.row_begin / step, own.size(0)).narrow(1, column, own.size(1)).copy_(own);
    column += own.size(1);
  }
  values_of(joined, left) = all;
  values_of(joined, right) = at::cat(rights, 0);
}

// The factor of the joined product: both are as they are in `parts`, which have it as thin matrices or whole.
void join_factor(AdapterTensors& joined, Parts parts, const std::string& factor, int64_t rows, int64_t step) {
  const bool is_thin =
      std::all_of(parts.begin(), parts.end(), [&](const AdapterTensors& part) { return !part.tensors.count(factor); });
  if (is_thin) return join_product(joined, parts, {factor + "_a", factor + "_b"}, rows, step);
  for (AdapterTensors& part : parts) make_factor_whole(part, factor);
  make_factor_whole(joined, factor);
  values_of(joined, factor) = stacked(parts, factor, rows, step);
}

bool have_inputs_alike(const Parts& parts) {
  const auto columns = [](const AdapterTensors& part, const std::string& factor) {
    return values_of(part, part.tensors.count(factor) ? factor : factor + "_b").size(1);
  };
  return std::all_of(parts.begin(), parts.end(), [&](const AdapterTensors& part) {
    return columns(part, "w1") == columns(parts.front(), "w1") && columns(part, "w2") == columns(parts.front(), "w2");
  });
}

// One Kronecker product of all, where they share a matrix.
bool join_lokr(AdapterTensors& joined, const Parts& parts, int64_t out_features) {
  if (!have_inputs_alike(parts)) return false;
  const int64_t block = factor_rows(joined, "w2");
  const bool are_whole_blocks =
      out_features % block == 0 &&
      std::all_of(parts.begin(), parts.end(), [&](const AdapterTensors& part) { return part.row_begin % block == 0; });
  if (are_whole_blocks && have_equal_factor(parts, "w2")) {
    join_factor(joined, parts, "w1", out_features / block, block);
    return true;
  }
  if (factor_rows(joined, "w1") != 1 || !have_equal_factor(parts, "w1")) return false;
  join_factor(joined, parts, "w2", out_features, 1);
  return true;
}

void check_lengths(const Parts& parts, int64_t out_features) {
  int64_t rows = 0;
  for (const AdapterTensors& part : parts) rows += sizes_of(part).out_features;
  if (rows == out_features) return;
  const AdapterTensors& first = parts.front();
  throw ModelError(str("[", first.tensors.begin()->second.name, "] expected DoRA of all ", out_features, " outputs of ",
                       first.module, ", got it of ", rows,
                       ": the lengths of the others are those of the base's weights (try --merge with these)"));
}

void make_scales_equal(Parts& parts) {
  const double scale = parts.front().scale;
  if (std::all_of(parts.begin(), parts.end(), [&](const AdapterTensors& part) { return part.scale == scale; })) return;
  for (AdapterTensors& part : parts) {
    const std::string role =
        part.kind == AdapterKind::kLokr ? factor_row_role(part, "w1") : output_roles(part.kind).front();
    values_of(part, role) = times(values_of(part, role), part.scale);
    part.scale = 1;
  }
}

void make_lora(Parts& parts) {
  for (AdapterTensors& part : parts) {
    std::optional<AdapterTensors> lora = as_lora(part);
    if (!lora) {
      throw ModelError("[" + part.tensors.begin()->second.name +
                       "] expected adapters that the parts of a layer have together, got a Kronecker product with "
                       "matrices of its own, of too high a rank for LoRA (try --merge)");
    }
    part = std::move(*lora);
  }
}

}  // namespace

AdapterTensors put_together(const std::vector<const AdapterTensors*>& adapters, int64_t out_features) {
  Parts parts;
  for (const AdapterTensors* adapter : adapters) parts.push_back(with_rows_in_order(*adapter));
  const auto is_kind = [](AdapterKind kind) {
    return [kind](const AdapterTensors& part) { return part.kind == kind; };
  };
  if (!std::all_of(parts.begin(), parts.end(), is_kind(parts.front().kind))) {
    const auto dora = std::find_if(parts.begin(), parts.end(), is_kind(AdapterKind::kDora));
    if (dora != parts.end()) check_lengths({*dora}, out_features);
    make_lora(parts);
  }
  make_scales_equal(parts);
  AdapterTensors joined = parts.front();
  if (joined.kind == AdapterKind::kLokr && !join_lokr(joined, parts, out_features)) {
    make_lora(parts);
    joined = parts.front();
  }
  if (joined.kind == AdapterKind::kDora) {
    check_lengths(parts, out_features);
    for (AdapterTensors& part : parts) values_of(part, "magnitude") = values_of(part, "magnitude").reshape({-1, 1});
    values_of(joined, "magnitude") = stacked(parts, "magnitude", out_features, 1).reshape({-1});
  }
  if (joined.kind != AdapterKind::kLokr) {
    for (const ThinProduct& product : thin_products(joined.kind)) join_product(joined, parts, product, out_features);
  }
  joined.row_begin = 0;
  joined.row_end = -1;
  return joined;
}

}  // namespace millrace
