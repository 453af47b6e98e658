#include "models/flux/lora_split.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "models/flux/lora_layout.h"

namespace millrace::flux {
namespace {

struct PartOf {
  std::string layer;
  int64_t begin = 0, size = 0;
};

// "double_blocks.0.img_attn.qkv.k" -> the second third of its layer's rows; no layer: not a part.
PartOf part_of(const FluxConfig& config, const std::string& module) {
  const size_t dot = module.rfind('.');
  const std::string layer = module.substr(0, dot), word = module.substr(dot + 1);
  int64_t begin = 0;
  const std::vector<int64_t> rows = fused_rows(config, layer);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (word == kFusedParts[i]) return {layer, begin, rows[i]};
    begin += rows[i];
  }
  return {};
}

AdapterTensors block_of(const AdapterTensors& whole, const std::vector<int64_t>& rows, size_t number,
                        const std::string& place) {
  const auto count = static_cast<int64_t>(rows.size());
  const FileTensor &down = whole.tensors.at("down"), &up = whole.tensors.at("up");
  const int64_t rank = down.values.size(0) / count, column = static_cast<int64_t>(number) * rank;
  const int64_t begin = std::accumulate(rows.begin(), rows.begin() + static_cast<int64_t>(number), int64_t{0});
  const torch::Tensor rows_of_part = up.values.narrow(0, begin, rows[number]);
  const torch::Tensor own = rows_of_part.narrow(1, column, rank);
  const bool is_block_diagonal = down.values.size(0) % count == 0 &&
                                 rows_of_part.count_nonzero().item<int64_t>() == own.count_nonzero().item<int64_t>();
  if (!is_block_diagonal) {
    throw ModelError(str("[", place, ": ", up.name, "] expected a pair for each of the layer's ", count,
                         " parts, which lora.split_qkv trains apart, got one for all (try lora.split_qkv=false)"));
  }
  AdapterTensors part = whole;
  part.module = whole.module + "." + kFusedParts[number];
  part.tensors["down"].values = down.values.narrow(0, column, rank).contiguous();
  part.tensors["up"].values = own.contiguous();
  return part;
}

}  // namespace

std::vector<AdapterTensors> split_adapters(std::vector<AdapterTensors> whole, const FluxConfig& config,
                                           bool has_their_alpha, const std::string& place) {
  std::vector<AdapterTensors> split;
  for (AdapterTensors& adapter : whole) {
    const std::vector<int64_t> rows = fused_rows(config, adapter.module);
    if (rows.empty() || adapter.kind != AdapterKind::kLora) {
      split.push_back(std::move(adapter));
      continue;
    }
    if (has_their_alpha) adapter.scale *= static_cast<double>(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) split.push_back(block_of(adapter, rows, i, place));
  }
  return split;
}

std::vector<AdapterTensors> placed_parts(std::vector<AdapterTensors> adapters, const FluxConfig& config) {
  for (AdapterTensors& adapter : adapters) {
    const PartOf part = part_of(config, adapter.module);
    if (part.layer.empty()) continue;
    adapter.module = part.layer;
    adapter.row_begin = part.begin;
    adapter.row_end = part.begin + part.size;
  }
  // whole_adapters() takes the parts of a layer in the order of their rows.
  std::stable_sort(adapters.begin(), adapters.end(), [](const AdapterTensors& a, const AdapterTensors& b) {
    return std::tie(a.module, a.row_begin) < std::tie(b.module, b.row_begin);
  });
  return adapters;
}

void use_their_alpha(std::vector<AdapterTensors>& whole, const FluxConfig& config) {
  for (AdapterTensors& adapter : whole) {
    const std::vector<int64_t> rows = fused_rows(config, adapter.module);
    if (!rows.empty()) adapter.scale /= static_cast<double>(rows.size());
  }
}

}  // namespace millrace::flux
