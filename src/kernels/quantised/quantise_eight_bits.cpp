#include <limits>
#include <string>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/quantised/quantise.h"
#include "kernels/quantised/quantise_raw.h"

namespace millrace {
namespace {

constexpr float kLargestInt8 = 127;

using EncodeRow = void (*)(const float* x, int64_t n, float scale, uint8_t* codes);

// Rows divided by a scale that makes the largest magnitude of each `largest`.
void quantise_rows(std::span<const float> weights, int64_t columns, float largest, std::span<uint8_t> codes,
                   std::span<float> row_scales, const QuantiseKernels& kernels, EncodeRow encode) {
  const auto width = static_cast<size_t>(columns);
  MILLRACE_CHECK(columns > 0 && codes.size() == weights.size() && row_scales.size() * width == weights.size());
  for (size_t row = 0; row < row_scales.size(); ++row) {
    const float* in = weights.data() + row * width;
    const float absmax = kernels.largest_magnitude(in, columns);
    if (absmax > std::numeric_limits<float>::max())
      throw ModelError("[row " + std::to_string(row) + "] expected finite weights to quantise, got others");
    // A row so small that its scale would vanish is zeros.
    const float scale = absmax / largest;
    row_scales[row] = scale > 0 ? scale : 1.0f;
    encode(in, columns, row_scales[row], codes.data() + row * width);
  }
}

}  // namespace

void quantise_fp8_unscaled(std::span<const float> weights, std::span<uint8_t> codes) {
  MILLRACE_CHECK(codes.size() == weights.size());
  MILLRACE_SELECT_KERNELS(quantise_kernels).e4m3(weights.data(), static_cast<int64_t>(weights.size()), codes.data());
}

void quantise_fp8(std::span<const float> weights, int64_t columns, std::span<uint8_t> codes,
                  std::span<float> row_scales) {
  const QuantiseKernels& kernels = MILLRACE_SELECT_KERNELS(quantise_kernels);
  quantise_rows(weights, columns, kLargestE4m3, codes, row_scales, kernels, kernels.e4m3_scaled);
}

void quantise_int8(std::span<const float> weights, int64_t columns, std::span<uint8_t> codes,
                   std::span<float> row_scales) {
  const QuantiseKernels& kernels = MILLRACE_SELECT_KERNELS(quantise_kernels);
  quantise_rows(weights, columns, kLargestInt8, codes, row_scales, kernels, kernels.int8_scaled);
}

}  // namespace millrace
