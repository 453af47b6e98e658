// Sums of squares and the search for non-finite elements on the CPU; arguments are checked by global_norm.cpp.
#pragma once

#include "kernels/raw.h"

namespace millrace {

double sum_of_squares_cpu(ElementType type, const void* x, int64_t n);
int64_t first_nonfinite_cpu(ElementType type, const void* x, int64_t n);  // -1: none

}  // namespace millrace
