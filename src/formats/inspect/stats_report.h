// Statistics of a tensor as part of a report (internal to formats/inspect/ and `millrace inspect`).
#pragma once

#include <cmath>
#include <memory>

#include "formats/inspect/inspect.h"
#include "formats/tensor_stats.h"

namespace millrace {

// {"min", "max", "mean", "std", "nan", "infinite"}; null if there is no finite value.
Report stats_report(DType dtype, std::span<const std::byte> bytes, ThreadPool* pool);

// Null where the value is not finite: JSON has no such numbers.
inline Report number_or_null(double value) {
  return std::isfinite(value) ? Report(value) : Report(nullptr);
}

// The threads for statistics; nullptr for one thread or without statistics.
std::unique_ptr<ThreadPool> stats_pool(const InspectOptions& options);

}  // namespace millrace
