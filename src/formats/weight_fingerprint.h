// Whether two weight files are the same, without reading all of them.
#pragma once

#include <cstdint>

#include "formats/weight_store.h"

namespace millrace {

// Covers names, dtypes, shapes and contents: all of tensors up to 1 MiB, and 16 places spread over each larger one.
// Different weights give different fingerprints; a few flipped bits in a large tensor may go unnoticed.
uint64_t weight_fingerprint(const WeightStore& store);

}  // namespace millrace
