#include "nn/plain_layers.h"

#include <ATen/CPUGeneratorImpl.h>

#include "base/text.h"
#include "kernels/winograd/winograd.h"
#include "nn/linear_rows.h"
#include "nn/unplaced.h"

namespace millrace {
namespace {

torch::Tensor add_parameter(torch::nn::Module& layer, const char* name, at::IntArrayRef shape,
                            const LayerMemory& memory) {
  return memory ? layer.register_parameter(name, torch::empty(shape, *memory))
                : layer.register_parameter(name, unplaced_parameter(shape), /*requires_grad=*/false);
}

// Below this many tiles of 4 x 4, reading a layer's filters, four times as large for Winograd, takes longer than the
// multiplications saved.
constexpr int64_t kMinTiles = 32;

bool is_large(const torch::Tensor& x_BCHW) {
  return ((x_BCHW.size(2) + 3) / 4) * ((x_BCHW.size(3) + 3) / 4) >= kMinTiles;
}

// Picture by picture; norm may be null.
torch::Tensor winograd_each(const PlainGroupNorm* norm, const PlainConv2d& conv, const torch::Tensor& x_BCHW,
                            const torch::Tensor& residual_BCHW) {
  const torch::Tensor x_BHWC = x_BCHW.permute({0, 2, 3, 1});
  torch::Tensor residual_BHWO;
  if (residual_BCHW.defined()) {
    residual_BHWO = residual_BCHW.contiguous(torch::MemoryFormat::ChannelsLast).permute({0, 2, 3, 1});
  }
  const torch::Tensor y_BHWO =
      torch::empty({x_BHWC.size(0), x_BHWC.size(1), x_BHWC.size(2), conv.weight.size(0)}, x_BHWC.options());
  for (int64_t b = 0; b < x_BHWC.size(0); ++b) {
    GroupNormScale scale;
    if (norm) scale = group_norm_scale(x_BHWC[b], norm->groups(), norm->eps(), norm->weight, norm->bias);
    winograd_conv3x3(x_BHWC[b], scale, conv.winograd_filters(), conv.bias,
                     residual_BHWO.defined() ? residual_BHWO[b] : torch::Tensor(), y_BHWO[b]);
  }
  return y_BHWO.permute({0, 3, 1, 2});
}

}  // namespace

PlainEmbedding::PlainEmbedding(int64_t count, int64_t dim, const LayerMemory& memory) {
  weight = add_parameter(*this, "weight", {count, dim}, memory);
}

PlainConv2d::PlainConv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding,
                         const LayerMemory& memory)
    : stride_(stride), padding_(padding) {
  weight = add_parameter(*this, "weight", {out, in, kernel, kernel}, memory);
  bias = add_parameter(*this, "bias", {out}, memory);
}

torch::Tensor PlainConv2d::forward(const torch::Tensor& x_BCHW) const {
  if (takes_fast_convolutions(x_BCHW)) {
    if (suits_winograd() && is_large(x_BCHW)) return winograd_each(nullptr, *this, x_BCHW, {});
    if (weight.size(2) == 1 && weight.size(3) == 1 && stride_ == 1 && padding_ == 0) {
      const torch::Tensor y_BHWO = linear_rows(x_BCHW.permute({0, 2, 3, 1}), weight.flatten(1), bias);
      return y_BHWO.permute({0, 3, 1, 2});
    }
  }
  return torch::conv2d(x_BCHW, weight, bias, stride_, padding_);
}

bool PlainConv2d::suits_winograd() const {
  constexpr int64_t kMinChannels = 16;
  return weight.size(2) == 3 && weight.size(3) == 3 && stride_ == 1 && padding_ == 1 &&
         weight.size(0) >= kMinChannels && weight.size(1) >= kMinChannels;
}

const torch::Tensor& PlainConv2d::winograd_filters() const {
  const auto version = static_cast<int64_t>(weight._version());
  if (filters_of_ != weight.const_data_ptr() || filters_version_ != version) {
    winograd_filters_ = millrace::winograd_filters(weight);
    filters_of_ = weight.const_data_ptr();
    filters_version_ = version;
  }
  return winograd_filters_;
}

PlainLayerNorm::PlainLayerNorm(int64_t dim, double eps, const LayerMemory& memory) : eps_(eps) {
  weight = add_parameter(*this, "weight", {dim}, memory);
  bias = add_parameter(*this, "bias", {dim}, memory);
}

torch::Tensor PlainLayerNorm::forward(const torch::Tensor& x) const {
  return torch::layer_norm(x, {weight.size(0)}, weight, bias, eps_);
}

PlainRmsNorm::PlainRmsNorm(int64_t dim, double eps, const LayerMemory& memory) : eps_(eps) {
  weight = add_parameter(*this, "weight", {dim}, memory);
}

torch::Tensor PlainRmsNorm::forward(const torch::Tensor& x) const {
  return torch::rms_norm(x, {weight.size(0)}, weight, eps_);
}

PlainGroupNorm::PlainGroupNorm(int64_t groups, int64_t channels, double eps, const LayerMemory& memory)
    : groups_(groups), eps_(eps) {
  weight = add_parameter(*this, "weight", {channels}, memory);
  bias = add_parameter(*this, "bias", {channels}, memory);
}

torch::Tensor PlainGroupNorm::forward(const torch::Tensor& x_BCHW) const {
  return torch::group_norm(x_BCHW, groups_, weight, bias, eps_);
}

bool takes_fast_convolutions(const torch::Tensor& x_BCHW) {
  return !at::GradMode::is_enabled() && x_BCHW.is_cpu() && x_BCHW.scalar_type() == torch::kFloat32 &&
         x_BCHW.dim() == 4 && x_BCHW.is_contiguous(torch::MemoryFormat::ChannelsLast);
}

torch::Tensor norm_silu_conv(const PlainGroupNorm& norm, const PlainConv2d& conv, const torch::Tensor& x_BCHW,
                             const torch::Tensor& residual_BCHW) {
  if (takes_fast_convolutions(x_BCHW) && conv.suits_winograd() && is_large(x_BCHW)) {
    return winograd_each(&norm, conv, x_BCHW, residual_BCHW);
  }
  const torch::Tensor y_BCHW = conv.forward(torch::silu(norm.forward(x_BCHW)));
  return residual_BCHW.defined() ? residual_BCHW + y_BCHW : y_BCHW;
}

void init_normal(torch::nn::Module& module, double std, uint64_t seed) {
  torch::NoGradGuard no_grad;
  at::Generator generator = at::detail::createCPUGenerator(seed);
  for (auto& item : module.named_parameters()) {
    torch::Tensor& parameter = item.value();
    if (parameter.dim() >= 2) {
      parameter.copy_(torch::empty(parameter.sizes(), torch::kFloat32).normal_(0.0, std, generator));
    } else {
      parameter.fill_(ends_with(item.key(), "bias") ? 0.0 : 1.0);
    }
  }
}

}  // namespace millrace
