// Adapters of parts of a layer's outputs as one of all: the inverse of adapter_rows.h.
#pragma once

#include <cstdint>
#include <vector>

#include "adapters/adapter_file.h"

namespace millrace {

// Each part has the outputs from its row_begin on. Equal right matrices become one, different ones a
// block-diagonal pair of their summed rank. Kronecker products that share no matrix, and adapters of several kinds,
// become LoRA (as_lora.h). Throws ModelError where that would be no smaller than the layer, and for DoRA of some
// outputs alone: the lengths of the others' rows are the base's.
AdapterTensors put_together(const std::vector<const AdapterTensors*>& parts, int64_t out_features);

}  // namespace millrace
