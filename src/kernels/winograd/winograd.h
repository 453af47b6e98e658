// 3 x 3 convolutions (stride 1, zero padding 1) in fp32 on a CPU, with a quarter of the multiplications: Winograd's
// minimal filtering F(4 x 4, 3 x 3), Lavin and Gray 2016 (arXiv:1509.09308), at the points 0, +-3/4, +-3/2, infinity,
// whose rounding errors are at most a few times those of a direct sum (1e-6 over 128 channels, equal over 512).
// Pictures lie channel by channel within a pixel.
//
// Letters: H and W rows and columns, C input channels, O output channels, G groups.
#pragma once

#include <torch/types.h>

namespace millrace {

// Filters [O, C, 3, 3] transformed for the convolution, [36, C, O]: four times as large.
torch::Tensor winograd_filters(const torch::Tensor& filters_OC33);

// GroupNorm and the SiLU after it, as applied to a picture: silu(scale * x + shift), per channel.
struct GroupNormScale {
  torch::Tensor scale_C, shift_C;  // fp32; undefined: the identity
};
// From the picture's own moments (summed in fp64); gamma_C and beta_C are the norm's weight and bias.
GroupNormScale group_norm_scale(const torch::Tensor& x_HWC, int64_t groups, double eps, const torch::Tensor& gamma_C,
                                const torch::Tensor& beta_C);

// y_HWO = conv(silu(scale * x + shift)) + bias + residual. Each of norm, bias_O and residual_HWO may be undefined.
// residual_HWO may be y_HWO. All contiguous, fp32, on the CPU.
void winograd_conv3x3(const torch::Tensor& x_HWC, const GroupNormScale& norm, const torch::Tensor& filters_36CO,
                      const torch::Tensor& bias_O, const torch::Tensor& residual_HWO, const torch::Tensor& y_HWO);

// The same composed of ATen's operations, in any floating dtype; untransformed filters.
torch::Tensor winograd_reference(const torch::Tensor& x_HWC, int64_t groups, double eps, const torch::Tensor& gamma_C,
                                 const torch::Tensor& beta_C, const torch::Tensor& filters_OC33,
                                 const torch::Tensor& bias_O, const torch::Tensor& residual_HWO);

}  // namespace millrace
