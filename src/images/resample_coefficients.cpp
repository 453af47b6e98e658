#include "images/resample_coefficients.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace millrace {
namespace {

double bilinear(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

void split_into_halves(ResampleCoefficients& coefficients) {
  constexpr int kLowBits = 11;
  coefficients.halves.resize(coefficients.weights.size() * 2);
  for (size_t i = 0; i < coefficients.weights.size(); ++i) {
    int16_t* four = coefficients.halves.data() + i / 4 * 8;
    four[i % 4] = static_cast<int16_t>(coefficients.weights[i] >> kLowBits);
    four[4 + i % 4] = static_cast<int16_t>(coefficients.weights[i] & ((1 << kLowBits) - 1));
  }
}

}  // namespace

// Follows precompute_coeffs and normalize_coeffs_8bpc of Pillow's Resample.c, expression by expression.
ResampleCoefficients resample_coefficients(int source_size, int target_size, int begin, int end, Filter filter) {
  MILLRACE_CHECK(source_size > 0 && target_size > 0 && 0 <= begin && begin <= end && end <= target_size);
  double (*const weight)(double) = filter == Filter::kBicubic ? bicubic : bilinear;
  const double scale = static_cast<double>(source_size) / target_size;
  const double filter_scale = std::max(scale, 1.0);
  const double support = (filter == Filter::kBicubic ? 2.0 : 1.0) * filter_scale;
  const double inverse_scale = 1.0 / filter_scale;

  ResampleCoefficients result;
  // Rounded up to whole steps of four taps, as the vector loops require.
  result.taps = (static_cast<int>(std::ceil(support)) * 2 + 1 + 3) / 4 * 4;
  result.weights.assign(static_cast<size_t>(end - begin) * result.taps, 0);
  std::vector<double> line(result.taps);
  for (int target = begin; target < end; ++target) {
    const double center = (target + 0.5) * scale;
    const int first = std::max(0, static_cast<int>(center - support + 0.5));
    const int last = std::min(source_size, static_cast<int>(center + support + 0.5));
    const int count = last - first;
    double total = 0.0;
    for (int i = 0; i < count; ++i) {
      line[i] = weight((i + first - center + 0.5) * inverse_scale);
      total += line[i];
    }
    int32_t* out = result.weights.data() + static_cast<size_t>(target - begin) * result.taps;
    for (int i = 0; i < count; ++i) {
      const double w = (total != 0.0 ? line[i] / total : line[i]) * (1 << kCoefficientBits);
      out[i] = static_cast<int32_t>(w < 0 ? w - 0.5 : w + 0.5);
    }
    result.first.push_back(first);
    result.count.push_back(count);
  }
  split_into_halves(result);
  return result;
}

}  // namespace millrace
