// philox_fill on the CPU; arguments are checked by philox_fill.cpp.
#pragma once

#include "kernels/philox_fill/philox_fill_raw.h"
#include "kernels/tensor_args.h"

namespace millrace {

void philox_fill_cpu(RandomKind kind, ElementType type, const RandomStream* streams, int64_t batch, int64_t n,
                     int64_t batch_stride, uint64_t first_index, void* out);

}  // namespace millrace
