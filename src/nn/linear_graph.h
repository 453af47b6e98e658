// Linear layers of any storage and with any adapter in a graph of autograd's.
#pragma once

#include <torch/types.h>

#include <functional>

namespace millrace {

class Linear;

// The whole layer, bias included: x [..., K] to [..., N]. The graph's backward pass goes through the layer's own verbs,
// so that an adapter adds to its gradients, and returns the gradient of x, which must require one. The layer must
// outlive the graph.
torch::Tensor linear_with_graph(Linear& layer, const torch::Tensor& x);

// The gradient of a block's input, given that of its output. The block runs again, with a graph that is gone
// afterwards; adapters within it add to their gradients.
torch::Tensor recomputed_gradient(const std::function<torch::Tensor(const torch::Tensor&)>& block,
                                  const torch::Tensor& x, const torch::Tensor& dy);

}  // namespace millrace
