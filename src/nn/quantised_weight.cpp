#include "nn/quantised_weight.h"

#include <algorithm>

#include "base/error.h"
#include "nn/gemm.h"
#include "nn/linear.h"

namespace millrace {
namespace {

// A CPU's tile of fp32 is 8 MiB, which the product reads once per use from its cache or near it. A GPU wants products
// large enough to fill it.
constexpr int64_t kCpuTile = int64_t{1} << 21, kGpuTile = int64_t{1} << 25;

}  // namespace

int64_t max_tile_elements(torch::Device device) {
  return device.is_cpu() ? kCpuTile : kGpuTile;
}

QuantisedWeight::QuantisedWeight(int64_t in_features, int64_t out_features)
    : in_features_(in_features), out_features_(out_features) {}

void QuantisedWeight::assign(std::vector<Part> parts) {
  int64_t rows = 0;
  for (const Part& part : parts) {
    MILLRACE_CHECK((part.dense_RK.defined() ? part.dense_RK.size(1) : part.quantised.columns) == in_features_);
    rows += part.rows();
  }
  MILLRACE_CHECK(rows == out_features_ && (parts_.empty() || !is_kept_on_host_));
  parts_ = std::move(parts);
}

int64_t QuantisedWeight::bytes() const {
  int64_t sum = 0;
  for (const Part& part : parts_) {
    sum += part.dense_RK.defined() ? static_cast<int64_t>(part.dense_RK.nbytes()) : part.quantised.bytes();
  }
  return sum;
}

void QuantisedWeight::replace_tensors(const std::function<torch::Tensor(const torch::Tensor&)>& replacement) {
  for (Part& part : parts_) {
    QuantisedTensor& q = part.quantised;
    for (torch::Tensor* x : {&part.dense_RK, &q.codes, &q.row_scales, &q.nf4_table, &q.scale_codes, &q.scale_table,
                             &q.scale_factors, &q.scale_offset}) {
      if (x->defined()) *x = replacement(*x);
    }
  }
}

void QuantisedWeight::unpack(int64_t row_begin, int64_t column_begin, const torch::Tensor& tile_RC) const {
  const int64_t row_end = row_begin + tile_RC.size(0), columns = tile_RC.size(1);
  int64_t first = 0;  // of the part
  for (const Part& part : parts_) {
    const int64_t begin = std::max(row_begin, first), end = std::min(row_end, first + part.rows());
    if (begin < end) {
      const torch::Tensor out = tile_RC.narrow(0, begin - row_begin, end - begin);
      if (part.dense_RK.defined()) {
        out.copy_(part.dense_RK.narrow(0, begin - first, end - begin).narrow(1, column_begin, columns));
      } else {
        dequantise(part.quantised, begin - first, column_begin, out);
      }
    }
    first += part.rows();
  }
}

void QuantisedWeight::forward(torch::Tensor& out_MN, const torch::Tensor& x_MK) const {
  const torch::NoGradGuard no_grad;
  MILLRACE_CHECK(!parts_.empty() || x_MK.is_meta());
  const int64_t rows_per_tile = std::clamp<int64_t>(max_tile_elements(x_MK.device()) / in_features_, 1, out_features_);
  const torch::Tensor tile = torch::empty({rows_per_tile, in_features_}, x_MK.options());
  for (int64_t row = 0; row < out_features_; row += rows_per_tile) {
    const int64_t rows = std::min(rows_per_tile, out_features_ - row);
    const torch::Tensor tile_RK = tile.narrow(0, 0, rows);
    unpack(row, 0, tile_RK);
    torch::Tensor out_MR = out_MN.narrow(1, row, rows);
    gemm(out_MR, x_MK, tile_RK.t());
  }
}

void QuantisedWeight::backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, bool accumulate) const {
  const torch::NoGradGuard no_grad;
  MILLRACE_CHECK(!parts_.empty() || dy_MN.is_meta());
  const int64_t blocks = max_tile_elements(dy_MN.device()) / out_features_ / kTileColumns;
  const int64_t columns_per_tile = std::min(in_features_, std::max<int64_t>(1, blocks) * kTileColumns);
  const torch::Tensor tile = torch::empty({out_features_ * columns_per_tile}, dy_MN.options());
  for (int64_t column = 0; column < in_features_; column += columns_per_tile) {
    const int64_t columns = std::min(columns_per_tile, in_features_ - column);
    const torch::Tensor tile_NC = tile.narrow(0, 0, out_features_ * columns).view({out_features_, columns});
    unpack(0, column, tile_NC);
    torch::Tensor dx_MC = dx_MK.narrow(1, column, columns);
    gemm(dx_MC, dy_MN, tile_NC, accumulate);
  }
}

void store_quantised(torch::nn::Module& module, const std::function<bool(const std::string& name)>& is_chosen) {
  for (const auto& item : module.named_modules("", /*include_self=*/false)) {
    const auto layer = std::dynamic_pointer_cast<Linear>(item.value());
    if (!layer || !is_chosen(item.key())) continue;
    layer->set_weight(std::make_unique<QuantisedWeight>(layer->in_features(), layer->out_features()));
  }
}

std::map<std::string, QuantisedWeight*> quantised_weights(torch::nn::Module& module) {
  std::map<std::string, QuantisedWeight*> found;
  for (const auto& item : module.named_modules("", /*include_self=*/false)) {
    const auto layer = std::dynamic_pointer_cast<Linear>(item.value());
    if (!layer) continue;
    if (auto* weight = dynamic_cast<QuantisedWeight*>(&layer->weight())) found.emplace(item.key(), weight);
  }
  return found;
}

}  // namespace millrace
