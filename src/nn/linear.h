// A linear layer: y = x W^T + bias, with W in any storage (linear_weight.h) and perhaps an adapter (linear_adapter.h).
//
// Models access a weight only through these verbs. Whether it is trained or frozen, dense or quantised, adapted or not
// is up to the layer: callers schedule the same calls.
//
// Shape letters: M rows (tokens), N outputs, K inputs. The caller owns every buffer.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>

#include "nn/linear_adapter.h"
#include "nn/linear_weight.h"
#include "nn/unplaced.h"

namespace millrace {

class Linear : public torch::nn::Module {
 public:
  // A dense weight [N, K] named "weight" and, unless told otherwise, a bias [N] named "bias". FlatParameters provides
  // their storage and decides whether they are trained: trained ones have a gradient.
  Linear(int64_t in_features, int64_t out_features, bool with_bias = true);
  Linear(std::unique_ptr<LinearWeight> weight, bool with_bias);

  int64_t in_features() const { return weight_->in_features(); }
  int64_t out_features() const { return weight_->out_features(); }

  // out_MN = x_MK W^T, plus the adapter's contribution. The bias is left to the op that reads out, which adds it in the
  // same pass.
  //
  // pass: holds what an adapter keeps for the backward pass; null: the backward pass recomputes it.
  void forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass* pass = nullptr) const;
  // dx_MK = dy_MN W, or dx_MK += with accumulate.
  void backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, bool accumulate = false,
                      LinearPass* pass = nullptr) const;
  // Adds dy_MN^T x_MK to the gradient of the weight, and adds an adapter's gradients. Skips frozen parameters.
  void backward_weight(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass* pass = nullptr);

  const torch::Tensor& bias() const { return bias_N_; }  // undefined without one
  // The buffer that the bias's gradient is added to; undefined for a frozen bias, and without one.
  torch::Tensor bias_gradient() const { return bias_N_.defined() ? bias_N_.grad() : torch::Tensor(); }

  // The whole layer, bias included, plus residual [..., N] if defined, for uses too small to schedule by hand:
  // x [..., K] to [..., N]. With a graph if grad mode is on (linear_graph.h); then x of an adapted layer must require a
  // gradient.
  torch::Tensor apply(const torch::Tensor& x, const torch::Tensor& residual = {});
  // Its backward pass without a graph: adds the gradients of trained parameters and returns dx_MK, or an undefined
  // tensor unless wants_dx.
  torch::Tensor backward(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, bool wants_dx = true);

  // The adapter that completes every product from now on; null: none.
  void set_adapter(std::shared_ptr<LinearAdapter> adapter) { adapter_ = std::move(adapter); }
  LinearAdapter* adapter() const { return adapter_.get(); }
  // The matrix [N, K] if the layer consists of only this and a bias, for kernels that accept nothing else. Undefined
  // for other storages and for adapted layers.
  torch::Tensor plain_weight() const { return adapter_ ? torch::Tensor() : weight_->dense(); }
  // Another storage of the same sizes, from before FlatParameters places the model: the parameters of the one before
  // are no longer the layer's.
  void set_weight(std::unique_ptr<LinearWeight> weight);
  LinearWeight& weight() { return *weight_; }
  const LinearWeight& weight() const { return *weight_; }

 private:
  std::unique_ptr<LinearWeight> weight_;
  std::shared_ptr<LinearAdapter> adapter_;
  torch::Tensor bias_N_;
};

// dbias_N += the sum of dy_MN over its rows.
void add_bias_gradient(torch::Tensor dbias_N, const torch::Tensor& dy_MN);

}  // namespace millrace
