#include "formats/unusable_tensor.h"

#include <algorithm>
#include <cmath>

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/tensor_stats.h"

namespace millrace {
namespace {

std::string complaint(const TensorStats& stats, double largest) {
  const uint64_t count = stats.finite_count + stats.nan_count + stats.infinity_count;
  const auto some_of = [&](uint64_t bad, const char* what) {
    return str(with_thousands(static_cast<int64_t>(bad)), " of ", with_thousands(static_cast<int64_t>(count)),
               " numbers ", bad == 1 ? "is " : "are ", what);
  };
  if (stats.nan_count > 0) return some_of(stats.nan_count, "nan");
  if (stats.infinity_count > 0) return some_of(stats.infinity_count, "infinite");
  const double magnitude = stats.finite_count == 0 ? 0 : std::max(std::abs(stats.min), std::abs(stats.max));
  return magnitude > largest ? str("a magnitude of ", magnitude, ", where at most ", largest, " can be stored") : "";
}

}  // namespace

std::optional<UnusableTensor> first_unusable_tensor(const WeightStore& store, ThreadPool* pool, double largest) {
  for (const TensorView& tensor : store.tensors()) {
    const bool is_dense = tensor.block_format == BlockFormat::kNone;
    const std::string what = complaint(is_dense ? tensor_stats(tensor.dtype, tensor.bytes, pool)
                                                : tensor_stats(tensor.block_format, tensor.bytes, pool),
                                       largest);
    release_mapped(tensor.bytes);
    if (!what.empty()) return UnusableTensor{tensor.name, what};
  }
  return std::nullopt;
}

}  // namespace millrace
