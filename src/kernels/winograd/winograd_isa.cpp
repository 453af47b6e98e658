#include "kernels/simd.h"
#include "kernels/simd_exp.h"
#include "kernels/winograd/winograd_raw.h"

namespace millrace {
namespace {

// The points at which polynomials are evaluated: 0, +-a, +-b, infinity. Exact in binary, with the smallest rounding
// errors of those tried.
constexpr float kA = 0.75f, kB = 1.5f;
constexpr float kAA = kA * kA, kBB = kB * kB;

MILLRACE_INLINE VecF silu(VecF x) {
  constexpr float kBound = 87.0f;  // the limit of exp_bounded(); the sigmoid is 0 or 1 beyond
  return x / (1.0f + exp_bounded(-at_most(at_least(x, -kBound), kBound)));
}

// Transforms six numbers along a line of the input.
MILLRACE_INLINE void transform_input(const VecF (&d)[6], VecF (&out)[6]) {
  const VecF even_a = d[4] - kBB * d[2], odd_a = kA * (d[3] - kBB * d[1]);
  const VecF even_b = d[4] - kAA * d[2], odd_b = kB * (d[3] - kAA * d[1]);
  out[0] = (kAA * kBB) * d[0] - (kAA + kBB) * d[2] + d[4];
  out[1] = even_a + odd_a;
  out[2] = even_a - odd_a;
  out[3] = even_b + odd_b;
  out[4] = even_b - odd_b;
  out[5] = (kAA * kBB) * d[1] - (kAA + kBB) * d[3] + d[5];
}

// Six products along a line to four outputs.
MILLRACE_INLINE void transform_output(const VecF (&m)[6], VecF (&out)[4]) {
  const VecF sum_a = m[1] + m[2], sum_b = m[3] + m[4];
  const VecF difference_a = kA * (m[1] - m[2]), difference_b = kB * (m[3] - m[4]);
  out[0] = m[0] + sum_a + sum_b;
  out[1] = difference_a + difference_b;
  out[2] = kAA * sum_a + kBB * sum_b;
  out[3] = kAA * difference_a + kBB * difference_b + m[5];
}

// kInside: none of the tile's 6 x 6 pixels lies outside of the picture, where they are zero.
template <bool kActivate, bool kInside, typename Part>
MILLRACE_INLINE void input_lanes(const WinogradInput& args, int64_t top, int64_t left, int64_t c, Part part,
                                 float* transformed) {
  VecF scale{}, shift{};
  if constexpr (kActivate) {
    scale = load(args.scale + c, part);
    shift = load(args.shift + c, part);
  }
  VecF lines[6][6];
  for (int row = 0; row < 6; ++row) {
    VecF pixels[6];
    const int64_t y = top + row;
    for (int column = 0; column < 6; ++column) {
      const int64_t x = left + column;
      if (!kInside && (y < 0 || y >= args.height || x < 0 || x >= args.width)) {
        pixels[column] = VecF{};
        continue;
      }
      VecF value = load(args.x + (y * args.width + x) * args.channels + c, part);
      if constexpr (kActivate) value = silu(value * scale + shift);
      pixels[column] = value;
    }
    transform_input(pixels, lines[row]);
  }
  for (int column = 0; column < 6; ++column) {
    const VecF line[6] = {lines[0][column], lines[1][column], lines[2][column],
                          lines[3][column], lines[4][column], lines[5][column]};
    VecF out[6];
    transform_input(line, out);
    for (int row = 0; row < 6; ++row) store(transformed + (row * 6 + column) * args.channels + c, out[row], part);
  }
}

template <bool kActivate>
void input_tiles(const WinogradInput& args, int64_t begin, int64_t end, float* transformed) {
  for (int64_t tile = begin; tile < end; ++tile, transformed += kWinogradPlanes * args.channels) {
    const int64_t top = tile / args.tiles_across * kWinogradTile - 1;
    const int64_t left = tile % args.tiles_across * kWinogradTile - 1;
    const bool inside = top >= 0 && left >= 0 && top + 6 <= args.height && left + 6 <= args.width;
    for_vectors(args.channels, [&](int64_t c, auto part) {
      if (inside) {
        input_lanes<kActivate, true>(args, top, left, c, part, transformed);
      } else {
        input_lanes<kActivate, false>(args, top, left, c, part, transformed);
      }
    });
  }
}

void input(const WinogradInput& args, int64_t begin, int64_t end, float* transformed) {
  if (args.scale != nullptr) {
    input_tiles<true>(args, begin, end, transformed);
  } else {
    input_tiles<false>(args, begin, end, transformed);
  }
}

template <typename Part>
MILLRACE_INLINE void output_lanes(const WinogradOutput& args, int64_t top, int64_t left, int64_t c, Part part,
                                  const float* products) {
  VecF lines[4][6];
  for (int column = 0; column < 6; ++column) {
    VecF line[6], out[4];
    for (int row = 0; row < 6; ++row) line[row] = load(products + (row * 6 + column) * args.channels + c, part);
    transform_output(line, out);
    for (int row = 0; row < 4; ++row) lines[row][column] = out[row];
  }
  const VecF bias = args.bias != nullptr ? load(args.bias + c, part) : VecF{};
  const int64_t rows = args.height - top < 4 ? args.height - top : 4;
  const int64_t columns = args.width - left < 4 ? args.width - left : 4;
  for (int row = 0; row < rows; ++row) {
    VecF out[4];
    transform_output(lines[row], out);
    for (int column = 0; column < columns; ++column) {
      const int64_t at = ((top + row) * args.width + left + column) * args.channels + c;
      VecF value = out[column] + bias;
      if (args.residual != nullptr) value += load(args.residual + at, part);
      store(args.y + at, value, part);
    }
  }
}

void output(const WinogradOutput& args, int64_t begin, int64_t end, const float* products) {
  for (int64_t tile = begin; tile < end; ++tile, products += kWinogradPlanes * args.channels) {
    const int64_t top = tile / args.tiles_across * kWinogradTile, left = tile % args.tiles_across * kWinogradTile;
    for_vectors(args.channels, [&](int64_t c, auto part) { output_lanes(args, top, left, c, part, products); });
  }
}

void moments(const float* x, int64_t pixels, int64_t channels, float* mean, float* squares) {
  for_vectors(channels, [&](int64_t c, auto part) {
    VecF sum{};
    for (int64_t i = 0; i < pixels; ++i) sum += load(x + i * channels + c, part);
    const VecF average = sum / splat(static_cast<float>(pixels));
    VecF total{};
    for (int64_t i = 0; i < pixels; ++i) {
      const VecF distance = load(x + i * channels + c, part) - average;
      total += distance * distance;
    }
    store(mean + c, average, part);
    store(squares + c, total, part);
  });
}

}  // namespace

extern const WinogradKernels MILLRACE_ISA_NAME(winograd_kernels) = {input, output, moments};

}  // namespace millrace
