#include <cmath>

#include "base/log.h"
#include "base/text.h"
#include "formats/inspect/inspect.h"
#include "formats/inspect/stats_report.h"
#include "formats/npy.h"
#include "formats/weight_store.h"

namespace millrace {

namespace {

Report stats_report(const TensorStats& stats) {
  // Sums of huge numbers may overflow; JSON has no infinity.
  const auto number = [&](double value) {
    return stats.finite_count > 0 && std::isfinite(value) ? Report(value) : Report(nullptr);
  };
  return {{"min", number(stats.min)},   {"max", number(stats.max)}, {"mean", number(stats.mean)},
          {"std", number(stats.std())}, {"nan", stats.nan_count},   {"infinite", stats.infinity_count}};
}

Report stats_report(const TensorView& tensor, ThreadPool* pool) {
  return tensor.block_format == BlockFormat::kNone
             ? stats_report(tensor.dtype, tensor.bytes, pool)
             : stats_report(tensor_stats(tensor.block_format, tensor.bytes, pool));
}

}  // namespace

Report stats_report(DType dtype, std::span<const std::byte> bytes, ThreadPool* pool) {
  return stats_report(tensor_stats(dtype, bytes, pool));
}

std::unique_ptr<ThreadPool> stats_pool(const InspectOptions& options) {
  if (!options.stats || options.num_threads <= 1) return nullptr;
  return std::make_unique<ThreadPool>(options.num_threads);
}

Report inspect_weights(const std::filesystem::path& path, const InspectOptions& options) {
  const WeightStore store(path);
  const auto pool = stats_pool(options);
  Report files = Report::array(), tensors = Report::array(), dtypes = Report::object();
  for (const auto& file : store.files()) files.push_back(file.filename().string());
  uint64_t bytes = 0, elements = 0, listed = 0, nan_count = 0, infinity_count = 0;
  bool has_prefix = false;
  for (const TensorView& tensor : store.tensors()) {
    const bool is_prefixed = starts_with(tensor.name, kTransformerPrefix);
    has_prefix = has_prefix || is_prefixed;
    const std::string bare =
        is_prefixed ? tensor.name.substr(std::string_view(kTransformerPrefix).size()) : tensor.name;
    if (!options.is_wanted(tensor.name) && !options.is_wanted(bare)) continue;
    const auto count = static_cast<uint64_t>(element_count(tensor.shape));
    const std::string dtype(stored_type_name(tensor));
    ++listed;
    bytes += tensor.bytes.size();
    elements += count;
    dtypes[dtype] = dtypes.value(dtype, uint64_t{0}) + count;
    Report entry = {{"name", tensor.name}, {"dtype", dtype}, {"shape", tensor.shape}, {"bytes", tensor.bytes.size()}};
    if (options.stats) {
      entry["stats"] = stats_report(tensor, pool.get());
      nan_count += entry["stats"]["nan"].get<uint64_t>();
      infinity_count += entry["stats"]["infinite"].get<uint64_t>();
    }
    tensors.push_back(std::move(entry));
  }
  Report report = {{"kind", "weights"},
                   {"path", path.string()},
                   {"files", std::move(files)},
                   {"metadata", store.metadata()},
                   {"tensor_count", store.tensors().size()},
                   {"listed_count", listed},
                   {"parameter_count", elements},
                   {"parameters_by_dtype", std::move(dtypes)},
                   {"bytes", bytes}};
  if (has_prefix) report["prefix"] = kTransformerPrefix;  // which readers of the transformer strip
  if (options.stats) {
    report["nan"] = nan_count;
    report["infinite"] = infinity_count;
  }
  report["tensors"] = std::move(tensors);
  return report;
}

Report inspect_npy(const std::filesystem::path& path, const InspectOptions& options) {
  const NpyFile file(path);
  const NpyArray& array = file.array();
  Report report = {{"kind", "npy"},
                   {"path", path.string()},
                   {"dtype", dtype_name(array.dtype)},
                   {"shape", array.shape},
                   {"bytes", array.bytes.size()}};
  if (options.stats) {
    report["stats"] = stats_report(array.dtype, array.bytes, stats_pool(options).get());
  }
  return report;
}

}  // namespace millrace
