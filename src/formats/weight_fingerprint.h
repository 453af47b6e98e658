// Are two files of weights the same? Told without reading all of them.
#pragma once

#include <cstdint>

#include "formats/weight_store.h"

namespace millrace {

// Names, dtypes, shapes and contents: all of tensors up to 1 MiB, and 16 places spread over each larger one. Different
// weights differ; a few flipped bits in a large tensor may not.
uint64_t weight_fingerprint(const WeightStore& store);

}  // namespace millrace
