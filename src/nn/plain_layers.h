// Layers on ATen's own operations, for pretrained models: their weights come from a file, so
// the constructors allocate without initialising.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <optional>

namespace millrace {

// Where a layer's parameters get their memory: immediately, in that dtype on that device (on the meta device only
// shapes), or, with kUnplaced, from FlatParameters later.
using LayerMemory = std::optional<torch::TensorOptions>;
inline constexpr std::nullopt_t kUnplaced = std::nullopt;

struct PlainEmbedding : torch::nn::Module {
  // weight [count, dim]
  PlainEmbedding(int64_t count, int64_t dim, const LayerMemory& memory);
  torch::Tensor forward(const torch::Tensor& ids) const { return torch::embedding(weight, ids); }
  torch::Tensor weight;
};

struct PlainConv2d : torch::nn::Module {
  // weight [out, in, kernel, kernel], bias [out]; zero padding on all sides
  PlainConv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding, const LayerMemory& memory);
  torch::Tensor forward(const torch::Tensor& x_BCHW) const;
  // 3 x 3, stride 1, padding 1, and enough channels for kernels/winograd to pay off.
  bool suits_winograd() const;
  // The weights transformed for it, computed at the first call and again after the weights have changed.
  const torch::Tensor& winograd_filters() const;
  torch::Tensor weight, bias;

 private:
  int64_t stride_, padding_;
  mutable torch::Tensor winograd_filters_;
  mutable const void* filters_of_ = nullptr;
  mutable int64_t filters_version_ = -1;
};

struct PlainLayerNorm : torch::nn::Module {
  PlainLayerNorm(int64_t dim, double eps, const LayerMemory& memory);
  torch::Tensor forward(const torch::Tensor& x) const;
  torch::Tensor weight, bias;

 private:
  double eps_;
};

struct PlainRmsNorm : torch::nn::Module {
  PlainRmsNorm(int64_t dim, double eps, const LayerMemory& memory);
  torch::Tensor forward(const torch::Tensor& x) const;
  torch::Tensor weight;

 private:
  double eps_;
};

struct PlainGroupNorm : torch::nn::Module {
  PlainGroupNorm(int64_t groups, int64_t channels, double eps, const LayerMemory& memory);
  torch::Tensor forward(const torch::Tensor& x_BCHW) const;
  int64_t groups() const { return groups_; }
  double eps() const { return eps_; }
  torch::Tensor weight, bias;

 private:
  int64_t groups_;
  double eps_;
};

// Whether the fast convolutions for frozen models accept this picture: fp32 on a CPU, channels last, without a graph.
bool takes_fast_convolutions(const torch::Tensor& x_BCHW);

// conv(silu(norm(x))) + residual (which may be undefined): the building block of autoencoders, in one pass over the
// picture where possible. A picture's result does not depend on the others in its batch.
torch::Tensor norm_silu_conv(const PlainGroupNorm& norm, const PlainConv2d& conv, const torch::Tensor& x_BCHW,
                             const torch::Tensor& residual_BCHW = {});

// Random values for runs without trained weights: matrices, kernels and embeddings N(0, std), norm weights 1, biases 0.
// The same seed gives the same values on every device.
void init_normal(torch::nn::Module& module, double std, uint64_t seed);

}  // namespace millrace
