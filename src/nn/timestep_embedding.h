// Sinusoidal embedding of a scalar in [0, 1] (FLUX: timestep and guidance).
#pragma once

#include <torch/types.h>

namespace millrace {

// [B] -> [B, dim], fp32: [cos(args), sin(args)] with args = 1000 * t * exp(-ln(10000) * k / (dim/2)), cosines first.
// The operations and their order are those of the reference, since cos(1000 t) amplifies rounding a thousandfold.
torch::Tensor timestep_embedding(const torch::Tensor& t_B, int64_t dim);

// dt_B from the gradient of the embedding.
torch::Tensor timestep_embedding_backward(const torch::Tensor& dembedding_BD, const torch::Tensor& t_B);

}  // namespace millrace
