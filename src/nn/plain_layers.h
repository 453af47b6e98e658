// Layers on ATen's own operations, for models that are used as they were trained: their weights come from a file, so
// the constructors allocate and do not initialise. `options` says dtype and device; on the meta device a layer has
// shapes but no memory.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

namespace millrace {

struct PlainLinear : torch::nn::Module {
  // weight [out, in], bias [out] or none
  PlainLinear(int64_t in, int64_t out, bool with_bias, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& x) const { return torch::linear(x, weight, bias); }
  torch::Tensor weight, bias;
};

struct PlainEmbedding : torch::nn::Module {
  // weight [count, dim]
  PlainEmbedding(int64_t count, int64_t dim, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& ids) const { return torch::embedding(weight, ids); }
  torch::Tensor weight;
};

struct PlainConv2d : torch::nn::Module {
  // weight [out, in, kernel, kernel], bias [out]; zero padding on all sides
  PlainConv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding,
              const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& x_BCHW) const;
  torch::Tensor weight, bias;

 private:
  int64_t stride_, padding_;
};

struct PlainLayerNorm : torch::nn::Module {
  PlainLayerNorm(int64_t dim, double eps, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& x) const;
  torch::Tensor weight, bias;

 private:
  double eps_;
};

struct PlainRmsNorm : torch::nn::Module {
  PlainRmsNorm(int64_t dim, double eps, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& x) const;
  torch::Tensor weight;

 private:
  double eps_;
};

struct PlainGroupNorm : torch::nn::Module {
  PlainGroupNorm(int64_t groups, int64_t channels, double eps, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& x_BCHW) const;
  torch::Tensor weight, bias;

 private:
  int64_t groups_;
  double eps_;
};

// Random values for runs without trained weights: matrices, kernels and embeddings N(0, std), norm weights 1, biases 0.
// The same seed gives the same values on every device.
void init_normal(torch::nn::Module& module, double std, uint64_t seed);

}  // namespace millrace
