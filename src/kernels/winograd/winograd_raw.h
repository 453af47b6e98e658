// winograd on raw memory: the CPU levels' table. See winograd.h for the letters and the source.
#pragma once

#include <cstdint>

namespace millrace {

inline constexpr int kWinogradTile = 4;     // outputs along one side of a tile
inline constexpr int kWinogradPlanes = 36;  // numbers that stand for a tile: 6 x 6

// A picture [H, W, C] and the activation that is applied to it first: silu(scale * x + shift), or none (both null).
struct WinogradInput {
  const float* x;
  int64_t height, width, channels;
  const float *scale, *shift;  // [C]
  int64_t tiles_across;
};

// bias and residual may be null.
struct WinogradOutput {
  float* y;               // [H, W, O]
  const float* bias;      // [O]
  const float* residual;  // [H, W, O]; may be y
  int64_t height, width, channels;
  int64_t tiles_across;
};

struct WinogradKernels {
  // Tiles [begin, end), counted row by row, into transformed [end - begin, 36, C].
  void (*input)(const WinogradInput& args, int64_t begin, int64_t end, float* transformed);
  // The inverse: tiles [begin, end) from products [end - begin, 36, O].
  void (*output)(const WinogradOutput& args, int64_t begin, int64_t end, const float* products);
  // Over the pixels of x [pixels, C]: their mean per channel, and the sum of squared distances from it.
  void (*moments)(const float* x, int64_t pixels, int64_t channels, float* mean_C, float* squares_C);
};
extern const WinogradKernels winograd_kernels_v2, winograd_kernels_v3, winograd_kernels_v4;

}  // namespace millrace
