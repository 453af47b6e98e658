#include "kernels/winograd/winograd.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "kernels/cpu_level.h"
#include "kernels/sgemm.h"
#include "kernels/winograd/winograd_raw.h"

namespace millrace {
namespace {

// Tiles that one thread processes at a time: their transforms fit in its cache, and the product has enough rows.
constexpr int64_t kTilesPerBlock = 64;
constexpr int64_t kPixelsPerChunk = 64;  // per fp32 sum; chunks are summed in fp64

void check(const torch::Tensor& tensor, int64_t dims) {
  MILLRACE_CHECK(tensor.dim() == dims && tensor.is_contiguous() && tensor.scalar_type() == torch::kFloat32 &&
                 tensor.is_cpu());
}

const float* data_or_null(const torch::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

// A point's row of the filter transform: [1, p, p^2] over the product of its distances from the other points.
torch::Tensor filter_transform() {
  constexpr double a = 0.75, b = 1.5;
  constexpr std::array<double, 5> points = {0, a, -a, b, -b};
  torch::Tensor rows_63 = torch::zeros({6, 3}, torch::kFloat64);
  for (size_t i = 0; i < points.size(); ++i) {
    double divisor = 1;
    for (size_t j = 0; j < points.size(); ++j) divisor *= i == j ? 1 : points[i] - points[j];
    double power = 1;
    for (int64_t k = 0; k < 3; ++k, power *= points[i]) rows_63[static_cast<int64_t>(i)][k] = power / divisor;
  }
  rows_63[5][2] = 1;
  return rows_63;
}

}  // namespace

torch::Tensor winograd_filters(const torch::Tensor& filters_OC33) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor transform_63 = filter_transform();
  const int64_t out = filters_OC33.size(0), in = filters_OC33.size(1);
  const torch::Tensor result_36CO = torch::empty({kWinogradPlanes, in, out}, torch::kFloat32);
  // In fp64, a few output channels at a time: all of them would need eight times the filters' memory.
  constexpr int64_t kAtOnce = 32;
  for (int64_t begin = 0; begin < out; begin += kAtOnce) {
    const int64_t count = std::min(kAtOnce, out - begin);
    const torch::Tensor some = filters_OC33.detach().narrow(0, begin, count).to(torch::kCPU, torch::kFloat64);
    const torch::Tensor both_OC66 = at::matmul(at::matmul(transform_63, some), transform_63.t());
    result_36CO.narrow(2, begin, count).copy_(both_OC66.permute({2, 3, 1, 0}).reshape({kWinogradPlanes, in, count}));
  }
  return result_36CO;
}

GroupNormScale group_norm_scale(const torch::Tensor& x_HWC, int64_t groups, double eps, const torch::Tensor& gamma_C,
                                const torch::Tensor& beta_C) {
  check(x_HWC, 3);
  const int64_t channels = x_HWC.size(2), pixels = x_HWC.size(0) * x_HWC.size(1);
  MILLRACE_CHECK(channels % groups == 0 && pixels > 0);
  const int64_t chunks = (pixels + kPixelsPerChunk - 1) / kPixelsPerChunk;
  const torch::Tensor partials = torch::empty({2, chunks, channels}, torch::kFloat32);
  float *const means = partials.data_ptr<float>(), *const squares = means + chunks * channels;
  const float* x = x_HWC.const_data_ptr<float>();
  const WinogradKernels& kernels = MILLRACE_SELECT_KERNELS(winograd_kernels);
  at::parallel_for(0, chunks, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * kPixelsPerChunk, count = std::min(kPixelsPerChunk, pixels - first);
      kernels.moments(x + first * channels, count, channels, means + i * channels, squares + i * channels);
    }
  });

  GroupNormScale result{torch::empty({channels}, torch::kFloat32), torch::empty({channels}, torch::kFloat32)};
  const torch::Tensor gamma = gamma_C.detach().to(torch::kFloat32).contiguous();
  const torch::Tensor beta = beta_C.detach().to(torch::kFloat32).contiguous();
  // Chan, Golub and LeVeque 1979: the squares around the common mean, from those around each chunk's mean.
  const auto for_chunks = [&](auto&& use) {
    for (int64_t i = 0; i < chunks; ++i) {
      const auto weight = static_cast<double>(std::min(kPixelsPerChunk, pixels - i * kPixelsPerChunk));
      for (int64_t c = 0; c < channels; ++c) use(c, weight, i * channels + c);
    }
  };
  const int64_t width = channels / groups;
  const auto count = static_cast<double>(pixels * width);
  std::vector<double> group_means(static_cast<size_t>(channels)), totals(static_cast<size_t>(channels));
  for_chunks([&](int64_t c, double weight, int64_t at) { totals[static_cast<size_t>(c)] += weight * means[at]; });
  for (int64_t first = 0; first < channels; first += width) {
    const auto begin = totals.begin() + first, end = begin + width;
    std::fill_n(group_means.begin() + first, width, std::accumulate(begin, end, 0.0) / count);
    std::fill(begin, end, 0.0);
  }
  for_chunks([&](int64_t c, double weight, int64_t at) {
    const double distance = means[at] - group_means[static_cast<size_t>(c)];
    totals[static_cast<size_t>(c)] += squares[at] + weight * distance * distance;
  });
  for (int64_t first = 0; first < channels; first += width) {
    const double variance = std::accumulate(totals.begin() + first, totals.begin() + first + width, 0.0) / count;
    for (int64_t c = first; c < first + width; ++c) {
      const double scale = gamma.const_data_ptr<float>()[c] / std::sqrt(variance + eps);
      result.scale_C.data_ptr<float>()[c] = static_cast<float>(scale);
      result.shift_C.data_ptr<float>()[c] =
          static_cast<float>(beta.const_data_ptr<float>()[c] - group_means[static_cast<size_t>(c)] * scale);
    }
  }
  return result;
}

void winograd_conv3x3(const torch::Tensor& x_HWC, const GroupNormScale& norm, const torch::Tensor& filters_36CO,
                      const torch::Tensor& bias_O, const torch::Tensor& residual_HWO, const torch::Tensor& y_HWO) {
  check(x_HWC, 3);
  check(filters_36CO, 3);
  check(y_HWO, 3);
  const int64_t height = x_HWC.size(0), width = x_HWC.size(1), in = x_HWC.size(2), out = y_HWO.size(2);
  MILLRACE_CHECK(filters_36CO.sizes() == at::IntArrayRef({kWinogradPlanes, in, out}));
  MILLRACE_CHECK(y_HWO.size(0) == height && y_HWO.size(1) == width);
  MILLRACE_CHECK(norm.scale_C.defined() == norm.shift_C.defined());
  for (const torch::Tensor& vector : {norm.scale_C, norm.shift_C}) {
    if (vector.defined()) check(vector, 1);
    MILLRACE_CHECK(!vector.defined() || vector.size(0) == in);
  }
  if (bias_O.defined()) check(bias_O, 1);
  if (residual_HWO.defined()) check(residual_HWO, 3);
  MILLRACE_CHECK(!bias_O.defined() || bias_O.size(0) == out);
  MILLRACE_CHECK(!residual_HWO.defined() || residual_HWO.sizes() == y_HWO.sizes());

  const int64_t across = (width + kWinogradTile - 1) / kWinogradTile;
  const int64_t tiles = across * ((height + kWinogradTile - 1) / kWinogradTile);
  const WinogradInput input{.x = x_HWC.const_data_ptr<float>(),
                            .height = height,
                            .width = width,
                            .channels = in,
                            .scale = data_or_null(norm.scale_C),
                            .shift = data_or_null(norm.shift_C),
                            .tiles_across = across};
  const WinogradOutput output{.y = y_HWO.data_ptr<float>(),
                              .bias = data_or_null(bias_O),
                              .residual = data_or_null(residual_HWO),
                              .height = height,
                              .width = width,
                              .channels = out,
                              .tiles_across = across};
  const WinogradKernels& kernels = MILLRACE_SELECT_KERNELS(winograd_kernels);
  const float* filters = filters_36CO.const_data_ptr<float>();
  const auto multiply = [&](int64_t first_plane, int64_t end_plane, int64_t count, const float* transformed,
                            float* products) {
    for (int64_t plane = first_plane; plane < end_plane; ++plane) {
      sgemm(count, out, in, transformed + plane * in, kWinogradPlanes * in, filters + plane * in * out, out,
            products + plane * out, kWinogradPlanes * out);
    }
  };

  const int64_t blocks = (tiles + kTilesPerBlock - 1) / kTilesPerBlock;
  const int64_t own_floats = kTilesPerBlock * kWinogradPlanes * (in + out);
  if (blocks >= at::get_num_threads()) {
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      const torch::Tensor memory = torch::empty({own_floats}, torch::kFloat32);
      float *const transformed = memory.data_ptr<float>(), *const products =
                                                               transformed + kTilesPerBlock * kWinogradPlanes * in;
      for (int64_t block = begin; block < end; ++block) {
        const int64_t first = block * kTilesPerBlock, last = std::min(tiles, first + kTilesPerBlock);
        kernels.input(input, first, last, transformed);
        multiply(0, kWinogradPlanes, last - first, transformed, products);
        kernels.output(output, first, last, products);
      }
    });
    return;
  }
  // A small picture: the threads divide its tiles, then the planes, then the tiles again.
  const torch::Tensor memory = torch::empty({tiles * kWinogradPlanes * (in + out)}, torch::kFloat32);
  float *const transformed = memory.data_ptr<float>(), *const products = transformed + tiles * kWinogradPlanes * in;
  at::parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) {
    kernels.input(input, begin, end, transformed + begin * kWinogradPlanes * in);
  });
  at::parallel_for(0, kWinogradPlanes, 1,
                   [&](int64_t begin, int64_t end) { multiply(begin, end, tiles, transformed, products); });
  at::parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) {
    kernels.output(output, begin, end, products + begin * kWinogradPlanes * out);
  });
}

}  // namespace millrace
