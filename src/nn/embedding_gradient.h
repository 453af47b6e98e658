// The gradient of an embedding whose rows were looked up by token ids.
#pragma once

#include <torch/types.h>

namespace millrace {

// dweight_VD[ids_T[t]] += dx_TD[t]. Rows of the same token are summed in fp32 and rounded once; the same bits every
// time.
void add_embedding_gradient(torch::Tensor dweight_VD, const torch::Tensor& ids_T, const torch::Tensor& dx_TD);

}  // namespace millrace
