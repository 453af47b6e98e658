#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "kernels/quantised/quantise.h"

namespace millrace {
namespace {

constexpr float kLargestE4m3 = 448, kLargestInt8 = 127;

// encode(weight * 1 / scale) for each row, where scale makes the row's largest magnitude `largest`.
template <typename Encode>
void quantise_rows(std::span<const float> weights, int64_t columns, float largest, std::span<uint8_t> codes,
                   std::span<float> row_scales, Encode encode) {
  const auto width = static_cast<size_t>(columns);
  MILLRACE_CHECK(columns > 0 && codes.size() == weights.size() && row_scales.size() * width == weights.size());
  for (size_t row = 0; row < row_scales.size(); ++row) {
    const auto in = weights.subspan(row * width, width);
    float absmax = 0;
    bool is_finite = true;
    for (const float x : in) {
      absmax = std::max(absmax, std::fabs(x));
      is_finite = is_finite && std::fabs(x) <= std::numeric_limits<float>::max();
    }
    if (!is_finite)
      throw ModelError("[row " + std::to_string(row) + "] expected finite weights to quantise, got others");
    // A row so small that its scale would vanish is zeros.
    const float scale = absmax / largest;
    row_scales[row] = scale > 0 ? scale : 1.0f;
    for (size_t i = 0; i < width; ++i) codes[row * width + i] = encode(in[i] / row_scales[row]);
  }
}

}  // namespace

uint8_t e4m3_of(float x) {
  constexpr uint32_t kNan = 1087u << 20;    // 480, the first number above all others
  constexpr uint32_t kNormal = 121u << 23;  // 2^-6
  constexpr uint32_t kAlign = 141u << 23;   // 2^14: adding it leaves the units of subnormal numbers in the low bits
  auto bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t sign = bits & 0x80000000u;
  bits ^= sign;
  uint32_t code;
  if (bits >= kNan) {
    code = 0x7F;
  } else if (bits < kNormal) {
    code = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, bits) + __builtin_bit_cast(float, kAlign)) - kAlign;
  } else {
    code = (bits - (120u << 23) + 0x7FFFFu + (bits >> 20 & 1u)) >> 20;
  }
  return static_cast<uint8_t>(code | sign >> 24);
}

void quantise_fp8_unscaled(std::span<const float> weights, std::span<uint8_t> codes) {
  MILLRACE_CHECK(codes.size() == weights.size());
  std::transform(weights.begin(), weights.end(), codes.begin(), e4m3_of);
}

void quantise_fp8(std::span<const float> weights, int64_t columns, std::span<uint8_t> codes,
                  std::span<float> row_scales) {
  // The division may leave the largest a rounding above 448.
  quantise_rows(weights, columns, kLargestE4m3, codes, row_scales,
                [](float x) { return e4m3_of(std::clamp(x, -kLargestE4m3, kLargestE4m3)); });
}

void quantise_int8(std::span<const float> weights, int64_t columns, std::span<uint8_t> codes,
                   std::span<float> row_scales) {
  quantise_rows(weights, columns, kLargestInt8, codes, row_scales, [](float x) {
    const float rounded = std::nearbyint(std::clamp(x, -kLargestInt8, kLargestInt8));
    return static_cast<uint8_t>(static_cast<int8_t>(rounded));
  });
}

}  // namespace millrace
