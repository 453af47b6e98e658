#include "models/quantised_load.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "kernels/quantised/quantise_tensor.h"
#include "nn/quantised_io.h"
#include "parallel/flat_model.h"

namespace millrace {
namespace {

using Part = QuantisedWeight::Part;

QuantisedAs quantised_as(BaseStorage storage) {
  switch (storage) {
    case BaseStorage::kFp8:
      return QuantisedAs::kFp8;
    case BaseStorage::kFp8Unscaled:
      return QuantisedAs::kFp8Unscaled;
    case BaseStorage::kInt8:
      return QuantisedAs::kInt8;
    case BaseStorage::kNf4:
      return QuantisedAs::kNf4;
    case BaseStorage::kNf4Torchao:
      return QuantisedAs::kNf4Torchao;
    case BaseStorage::kDense:
    case BaseStorage::kGguf:
      break;
  }
  MILLRACE_CHECK(false);
}

// By its name, or by blocks, which no other file has.
bool is_gguf_file(const WeightStore& store) {
  const auto& tensors = store.tensors();
  return (!store.files().empty() && store.files()[0].extension() == ".gguf") ||
         std::any_of(tensors.begin(), tensors.end(),
                     [](const TensorView& tensor) { return tensor.block_format != BlockFormat::kNone; });
}

// The pieces of a matrix in the order of its rows.
WeightRules by_row(WeightRules rules) {
  std::sort(rules.begin(), rules.end(),
            [](const WeightRule& a, const WeightRule& b) { return a.row_begin < b.row_begin; });
  return rules;
}

// Rules that reorder rows make numbers of a piece; no matrix of a block has such a rule.
bool stays_in_blocks(const TensorView& view, const WeightRule& rule) {
  return view.block_format != BlockFormat::kNone && view.shape.size() == 2 && !rule.swap_halves;
}

// The pieces as they lie in the file. Those in blocks stay in them; others become numbers of the compute dtype.
std::vector<Part> parts_of_file(const WeightStore& store, const WeightRules& rules,
                                const FlatParametersOptions& placement) {
  std::vector<Part> parts;
  for (const WeightRule& rule : by_row(rules)) {
    const TensorView& view = *store.find(rule.theirs);
    if (stays_in_blocks(view, rule)) {
      parts.push_back({.quantised = blocks_of(view).to(placement.device)});
    } else {
      parts.push_back({.dense_RK = import_tensor(store, {rule})
                                       .to(placement.device, placement.compute_dtype,
                                           /*non_blocking=*/false, /*copy=*/true)});
    }
  }
  return parts;
}

// Their sizes alone, on the meta device.
std::vector<Part> sizes_in_file(const WeightStore& store, const WeightRules& rules, torch::Dtype compute_dtype) {
  const auto meta = torch::TensorOptions(torch::kMeta);
  std::vector<Part> parts;
  for (const WeightRule& rule : by_row(rules)) {
    const TensorView& view = *store.find(rule.theirs);
    if (stays_in_blocks(view, rule)) {
      const auto bytes = static_cast<int64_t>(view.bytes.size());
      parts.push_back({.quantised = {.kind = QuantisedKind::kBlocks,
                                     .format = view.block_format,
                                     .rows = view.shape[0],
                                     .columns = view.shape[1],
                                     .codes = torch::empty({bytes}, meta.dtype(torch::kUInt8))}});
    } else {
      parts.push_back({.dense_RK = torch::empty(view.shape, meta.dtype(compute_dtype))});
    }
  }
  return parts;
}

// A matrix of a GGUF file that is not what the file has: numbers, exact up to their rounding.
std::vector<Part> changed_part(const std::string& name, const WeightStore& store, const WeightRules& rules,
                               const FlatParametersOptions& placement, const WeightChange& change) {
  return {{.dense_RK = change.change(name, import_tensor(store, rules))
                           .to(placement.device, placement.compute_dtype, /*non_blocking=*/false, /*copy=*/true)}};
}

std::vector<Part> changed_size(const QuantisedWeight& weight, torch::Dtype compute_dtype) {
  const auto options = torch::TensorOptions(torch::kMeta).dtype(compute_dtype);
  return {{.dense_RK = torch::empty({weight.out_features(), weight.in_features()}, options)}};
}

std::vector<Part> quantised_sizes(const QuantisedWeight& weight, const FlatParametersOptions& placement) {
  return {{.quantised = unfilled(weight.out_features(), weight.in_features(), placement.compute_dtype,
                                 quantised_as(placement.base_storage), torch::kMeta)}};
}

std::vector<Part> quantised_parts(const std::string& name, const WeightStore& store, const WeightRules& rules,
                                  const FlatParametersOptions& placement, const WeightChange& change) {
  torch::Tensor weight_NK = change.changed(name, import_tensor(store, rules));
  // torchao rounds in the type of the weights that it is given: that of the computation.
  if (placement.base_storage == BaseStorage::kNf4Torchao) weight_NK = weight_NK.to(placement.compute_dtype);
  try {
    return {{.quantised = quantise(weight_NK, quantised_as(placement.base_storage)).to(placement.device)}};
  } catch (const ModelError& error) {
    throw ModelError(str("[", store.path().string(), ": ", name, "] ", error.what()));
  }
}

std::vector<Part> sizes_as_stored(const QuantisedWeight& weight, const std::string& name, const WeightStore& store,
                                  const std::map<std::string, WeightRules>& rules, torch::Dtype compute_dtype,
                                  const WeightChange& change) {
  return change.is_of(name) ? changed_size(weight, compute_dtype) : sizes_in_file(store, rules.at(name), compute_dtype);
}

}  // namespace

void load_quantised(torch::nn::Module& module, const WeightStore& store,
                    const std::map<std::string, WeightRules>& rules, const FlatParametersOptions& placement,
                    const WeightChange& change) {
  const std::map<std::string, QuantisedWeight*> weights = quantised_weights(module);
  const bool is_gguf = placement.base_storage == BaseStorage::kGguf;
  if (is_gguf && !is_gguf_file(store)) {
    throw ConfigError(
        str("[base storage] expected a GGUF file for gguf, got ", store.path().string(), " (try nf4, int8 or fp8)"));
  }
  ShardedMatrices* sharded = dynamic_cast<FlatModel&>(module).flat_parameters().sharded_matrices();
  if (sharded != nullptr) {
    for (const auto& [layer, weight] : weights) {
      weight->assign(is_gguf
                         ? sizes_as_stored(*weight, layer + ".weight", store, rules, placement.compute_dtype, change)
                         : quantised_sizes(*weight, placement));
    }
    sharded->lay_out();
  }
  for (const auto& [layer, weight] : weights) {
    if (sharded != nullptr && !sharded->owns(*weight)) continue;
    const std::string name = layer + ".weight";
    const WeightRules& own_rules = rules.at(name);
    FlatParametersOptions own = placement;
    if (sharded != nullptr || weight->is_kept_on_host()) own.device = torch::kCPU;
    weight->assign(!is_gguf             ? quantised_parts(name, store, own_rules, own, change)
                   : change.is_of(name) ? changed_part(name, store, own_rules, own, change)
                                        : parts_of_file(store, own_rules, own));
    if (sharded != nullptr) sharded->keep(*weight);
    for (const WeightRule& rule : own_rules) release_mapped(store.find(rule.theirs)->bytes);
  }
}

std::map<const QuantisedWeight*, int64_t> bytes_in_blocks(torch::nn::Module& module, const WeightStore& store,
                                                          const std::map<std::string, WeightRules>& rules,
                                                          torch::Dtype compute_dtype, const WeightChange& change) {
  std::map<const QuantisedWeight*, int64_t> bytes;
  for (const auto& [layer, weight] : quantised_weights(module)) {
    QuantisedWeight sizes(weight->in_features(), weight->out_features());
    sizes.assign(sizes_as_stored(*weight, layer + ".weight", store, rules, compute_dtype, change));
    bytes[weight] = sizes.bytes();
  }
  return bytes;
}

int64_t stored_bytes(BaseStorage storage, int64_t rows, int64_t columns) {
  const int64_t elements = rows * columns, row_scales = rows * 4;
  switch (storage) {
    case BaseStorage::kFp8Unscaled:
      return elements;
    case BaseStorage::kFp8:
    case BaseStorage::kInt8:
      return elements + row_scales;
    case BaseStorage::kNf4:
    case BaseStorage::kNf4Torchao: {
      const auto pieces = [](int64_t count, int64_t size) { return (count + size - 1) / size; };
      const int64_t scales = pieces(elements, kNf4Block);
      // Codes; their scales as codes, with a factor for each block of those; two tables and an offset.
      return pieces(elements, 2) + scales + 4 * pieces(scales, kNf4ScaleBlock) + 4 * (16 + 256 + 1);
    }
    case BaseStorage::kDense:
    case BaseStorage::kGguf:
      break;
  }
  MILLRACE_CHECK(false);
}

int64_t stored_bytes(BaseStorage storage, const QuantisedWeight& weight) {
  return stored_bytes(storage, weight.out_features(), weight.in_features());
}

}  // namespace millrace
