// From QuantisedTensor to what kernels see, with the checks (internal to kernels/quantised/).
#pragma once

#include "kernels/quantised/dequantise.h"
#include "kernels/tensor_args.h"

namespace millrace {

DequantiseArgs dequantise_args(const QuantisedTensor& matrix, int64_t row_begin, int64_t column_begin,
                               const torch::Tensor& out_RC);

}  // namespace millrace
