// The search in weight files for numbers that no model can compute with.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "base/thread_pool.h"
#include "formats/weight_store.h"

namespace millrace {

struct UnusableTensor {
  std::string name;
  std::string what;  // "2 of 4,096 numbers are nan"
};

// The first tensor with a number that is infinite, not a number, or of a magnitude above `largest`; nothing where all
// are good. Reads every byte up to there, and keeps none of it in memory. pool: nullptr: use the calling thread.
std::optional<UnusableTensor> first_unusable_tensor(const WeightStore& store, ThreadPool* pool,
                                                    double largest = std::numeric_limits<double>::infinity());

}  // namespace millrace
