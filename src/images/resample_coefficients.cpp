#include "images/resample_coefficients.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

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

double sinc(double x) {
  return x == 0.0 ? 1.0 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi);
}

double lanczos(double x) {
  constexpr double kLobes = 3.0;
  return -kLobes <= x && x < kLobes ? sinc(x) * sinc(x / kLobes) : 0.0;
}

double box(double x) {
  return -0.5 < x && x <= 0.5 ? 1.0 : 0.0;
}

// A function around the target's centre, and how far it reaches, both in pixels of the target (of the source where that
// is enlarged).
struct Kernel {
  double (*weight)(double);
  double support;
};

Kernel kernel_of(Filter filter) {
  switch (filter) {
    case Filter::kBicubic:
      return {bicubic, 2.0};
    case Filter::kLanczos:
      return {lanczos, 3.0};
    case Filter::kBox:
      return {box, 0.5};
    case Filter::kBilinear:
    case Filter::kArea:  // these two have no such function
    case Filter::kNearest:
      break;
  }
  return {bilinear, 1.0};
}

// The source pixels [first, first + weights.size()) of one target, and what each counts, not yet of sum one.
struct Span {
  int first = 0;
  std::vector<double> weights;
};

void fill_from_kernel(Span& span, const Kernel& kernel, int target, double scale, int source_size) {
  const double filter_scale = std::max(scale, 1.0);
  const double support = kernel.support * filter_scale;
  const double inverse_scale = 1.0 / filter_scale;
  const double center = (target + 0.5) * scale;
  span.first = std::max(0, static_cast<int>(center - support + 0.5));
  const int last = std::min(source_size, static_cast<int>(center + support + 0.5));
  span.weights.clear();
  for (int i = 0; i < last - span.first; ++i) {
    span.weights.push_back(kernel.weight((i + span.first - center + 0.5) * inverse_scale));
  }
}

// How much of each source pixel lies within the target.
void fill_from_area(Span& span, int target, double scale, int source_size) {
  const double begin = target * scale, end = (target + 1) * scale;
  span.first = std::min(static_cast<int>(begin), source_size - 1);
  const int last = std::clamp(static_cast<int>(std::ceil(end)), span.first + 1, source_size);
  span.weights.clear();
  for (int i = span.first; i < last; ++i) {
    span.weights.push_back(std::max(0.0, std::min<double>(end, i + 1) - std::max<double>(begin, i)));
  }
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
  const Kernel kernel = kernel_of(filter);
  const double scale = static_cast<double>(source_size) / target_size;
  const double support = (filter == Filter::kArea ? 1.0 : kernel.support) * std::max(scale, 1.0);

  ResampleCoefficients result;
  // Rounded up to whole steps of four taps, as the vector loops require.
  result.taps = (static_cast<int>(std::ceil(support)) * 2 + 1 + 3) / 4 * 4;
  result.weights.assign(static_cast<size_t>(end - begin) * result.taps, 0);
  Span span;
  for (int target = begin; target < end; ++target) {
    if (filter == Filter::kArea) {
      fill_from_area(span, target, scale, source_size);
    } else if (filter == Filter::kNearest) {
      span = {std::min(static_cast<int>(target * scale), source_size - 1), {1.0}};
    } else {
      fill_from_kernel(span, kernel, target, scale, source_size);
    }
    const double total = std::accumulate(span.weights.begin(), span.weights.end(), 0.0);
    const int count = static_cast<int>(span.weights.size());
    MILLRACE_CHECK(count <= result.taps);
    int32_t* out = result.weights.data() + static_cast<size_t>(target - begin) * result.taps;
    for (int i = 0; i < count; ++i) {
      const double w = (total != 0.0 ? span.weights[i] / total : span.weights[i]) * (1 << kCoefficientBits);
      out[i] = static_cast<int32_t>(w < 0 ? w - 0.5 : w + 0.5);
    }
    result.first.push_back(span.first);
    result.count.push_back(count);
  }
  split_into_halves(result);
  return result;
}

}  // namespace millrace
