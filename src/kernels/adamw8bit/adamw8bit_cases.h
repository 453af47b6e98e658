// Buffers as in training, for tests and for `millrace verify`.
#pragma once

#include "kernels/adamw8bit/adamw8bit.h"

namespace millrace {

// tables: on the device of the buffers; must outlive them.
AdamW8bitBuffers adamw8bit_case(int64_t size, int64_t first_element, const CodeTables& tables,
                                torch::ScalarType grad_type, torch::ScalarType param_type = torch::kFloat32);
AdamW8bitBuffers copy_of(const AdamW8bitBuffers& buffers);
// Elements [begin, begin + size); where a block is cut, they share its scale with their neighbours.
AdamW8bitBuffers part_of(const AdamW8bitBuffers& buffers, int64_t begin, int64_t size);

}  // namespace millrace
