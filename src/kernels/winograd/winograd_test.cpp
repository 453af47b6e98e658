#include "kernels/winograd/winograd.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "kernels/cpu_level.h"
#include "kernels/op_check.h"

namespace millrace {
namespace {

using torch::Tensor;

struct Layer {
  Tensor x_HWC, gamma_C, beta_C, filters_OC33, bias_O, residual_HWO;
  int64_t groups;

  Layer(int64_t height, int64_t width, int64_t in, int64_t out, int64_t groups_) : groups(groups_) {
    torch::manual_seed(static_cast<uint64_t>(height * 1000 + width));
    x_HWC = torch::randn({height, width, in}) * 1.7 + 0.6;
    gamma_C = torch::randn({in}) * 0.3 + 1;
    beta_C = torch::randn({in}) * 0.2;
    filters_OC33 = torch::randn({out, in, 3, 3}) / std::sqrt(9.0 * static_cast<double>(in));
    bias_O = torch::randn({out});
    residual_HWO = torch::randn({height, width, out});
  }
  Tensor reference(torch::Dtype dtype) const {
    const auto as = [&](const Tensor& tensor) { return tensor.to(dtype); };
    return winograd_reference(as(x_HWC), groups, 1e-6, as(gamma_C), as(beta_C), as(filters_OC33), as(bias_O),
                              as(residual_HWO));
  }
  Tensor run() const {
    const Tensor y = torch::empty(residual_HWO.sizes());
    winograd_conv3x3(x_HWC, group_norm_scale(x_HWC, groups, 1e-6, gamma_C, beta_C), winograd_filters(filters_OC33),
                     bias_O, residual_HWO, y);
    return y;
  }
};

class WinogradAtLevel : public testing::TestWithParam<CpuLevel> {
 protected:
  void SetUp() override { force_cpu_level(GetParam()); }
  void TearDown() override { force_cpu_level(std::nullopt); }
};

// No more than four times the error of the direct sum in fp32, whatever the picture's and the vectors' ends.
TEST_P(WinogradAtLevel, IsAsExactAsADirectConvolution) {
  for (const Layer& layer : {Layer(8, 8, 16, 16, 4), Layer(1, 1, 6, 3, 2), Layer(5, 7, 18, 33, 6),
                             Layer(17, 23, 20, 12, 5), Layer(64, 61, 96, 40, 32), Layer(4, 260, 8, 8, 8)}) {
    const Tensor exact = layer.reference(torch::kFloat64);
    const double direct = relative_error(layer.reference(torch::kFloat32), exact);
    EXPECT_LE(relative_error(layer.run(), exact), 4 * std::max(direct, 1e-7)) << layer.x_HWC.sizes();
  }
}

TEST_P(WinogradAtLevel, EveryPartButTheFiltersMayBeAbsent) {
  const Layer layer(9, 14, 24, 16, 1);
  const Tensor y = torch::empty_like(layer.residual_HWO);
  winograd_conv3x3(layer.x_HWC, {}, winograd_filters(layer.filters_OC33), {}, {}, y);
  const Tensor exact = at::conv2d(layer.x_HWC.to(torch::kFloat64).permute({2, 0, 1}).unsqueeze(0),
                                  layer.filters_OC33.to(torch::kFloat64), {}, 1, 1);
  EXPECT_LE(relative_error(y, exact.squeeze(0).permute({1, 2, 0})), 2e-6);
}

TEST_P(WinogradAtLevel, TheResidualMayBeWrittenOver) {
  const Layer layer(12, 10, 16, 32, 8);
  const Tensor y = layer.residual_HWO.clone();
  winograd_conv3x3(layer.x_HWC, group_norm_scale(layer.x_HWC, layer.groups, 1e-6, layer.gamma_C, layer.beta_C),
                   winograd_filters(layer.filters_OC33), layer.bias_O, y, y);
  EXPECT_TRUE(torch::equal(y, layer.run()));
}

// A large common offset is what sums of squares lose their digits to.
TEST_P(WinogradAtLevel, NormsOfPicturesFarFromZeroKeepTheirDigits) {
  torch::manual_seed(3);
  const Tensor x = torch::randn({33, 21, 12}) + 1000, ones = torch::ones({12}), zeros = torch::zeros({12});
  const GroupNormScale scale = group_norm_scale(x, 3, 1e-6, ones, zeros);
  const Tensor x_64 = x.to(torch::kFloat64);
  const Tensor exact = at::group_norm(x_64.permute({2, 0, 1}).unsqueeze(0), 3, {}, {}, 1e-6)[0].permute({1, 2, 0});
  // fp32 holds scale and shift to 2^-24 of a thousand standard deviations.
  const Tensor got = x_64 * scale.scale_C.to(torch::kFloat64) + scale.shift_C.to(torch::kFloat64);
  EXPECT_LE((got - exact).abs().max().item<double>(), 3 * 1000 * 0x1p-24);
}

TEST_P(WinogradAtLevel, ExtremeActivationsStayFinite) {
  const Tensor x = torch::full({8, 8, 16}, 3e4), y = torch::empty({8, 8, 16});
  x.narrow(2, 0, 8).neg_();
  const GroupNormScale scale{torch::ones({16}), torch::zeros({16})};
  const Tensor filters = torch::zeros({16, 16, 3, 3});
  for (int64_t c = 0; c < 16; ++c) filters[c][c][1][1] = 1;
  winograd_conv3x3(x, scale, winograd_filters(filters), {}, {}, y);
  EXPECT_LE(y.narrow(2, 0, 8).abs().max().item<double>(), 1e-2);  // silu(-30000), and the large ones' rounding
  EXPECT_NEAR(y[4][4][12].item<double>(), 3e4, 1);
}

// The same to rounding, whether the threads share out blocks, or the planes of a small picture.
TEST_P(WinogradAtLevel, ThreadsDoNotChangeTheResult) {
  const Layer layer(30, 34, 32, 24, 8);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Tensor alone = layer.run();
  for (const int count : {2, 3, 7}) {
    at::set_num_threads(count);
    EXPECT_LE(relative_error(layer.run(), alone.to(torch::kFloat64)), 1e-6) << count;
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Levels, WinogradAtLevel, testing::ValuesIn(supported_cpu_levels()),
                         [](const auto& level) { return cpu_level_name(level.param); });

}  // namespace
}  // namespace millrace
