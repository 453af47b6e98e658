#include "parallel/flat_parameters.h"

#include <gtest/gtest.h>

#include "nn/linear.h"

namespace millrace {
namespace {

TEST(FlatParameters, ModulesSeeViewsOfOneBuffer) {
  Linear a(3, 5), b(5, 7);
  FlatParameters flat(
      {{"first", {{"a.weight", a.plain_weight()}, {"a.bias", a.bias()}}}, {"second", {{"b.weight", b.plain_weight()}}}},
      {.training = true});
  EXPECT_EQ(flat.num_parameters(), 15 + 5 + 35);
  EXPECT_EQ(flat.units().size(), 2u);
  flat.compute().fill_(2);
  EXPECT_EQ(a.plain_weight().sum().item<float>(), 30);
  EXPECT_EQ(b.plain_weight().sizes(), c10::IntArrayRef({7, 5}));
  b.plain_weight().grad().fill_(1);
  EXPECT_EQ(flat.grad().sum().item<float>(), 35);
  for (const ParameterSlice& slice : flat.slices()) EXPECT_EQ(slice.begin % 64, 0) << slice.name;
}

TEST(FlatParameters, PackedUnitsFormOneMatrix) {
  Linear a(3, 5), b(3, 2);
  FlatParameters flat({{"both", {{"a", a.plain_weight()}, {"b", b.plain_weight()}}, /*packed=*/true}}, {});
  EXPECT_EQ(flat.slices()[1].begin, 15);
}

TEST(FlatParameters, NarrowModelsKeepExactMasters) {
  Linear a(3, 5);
  FlatParameters flat({{"unit", {{"w", a.plain_weight()}, {"b", a.bias()}}}},
                      {.compute_dtype = torch::kBFloat16, .training = true});
  const torch::Tensor exact = torch::full({5, 3}, 1.0009765625f);
  flat.assign({{"w", exact}, {"b", torch::zeros({5})}});
  EXPECT_EQ(a.plain_weight().scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(at::equal(flat.named_views(flat.master()).at("w"), exact));
  EXPECT_EQ(a.plain_weight()[0][0].item<float>(), 1.0f);
}

TEST(FlatParameters, WeightsOfFilesInFp8AreWidened) {
  Linear a(3, 5);
  FlatParameters flat({{"unit", {{"w", a.plain_weight()}, {"b", a.bias()}}}}, {.compute_dtype = torch::kBFloat16});
  const torch::Tensor weight = torch::randn({5, 3}).to(torch::kFloat8_e4m3fn);
  flat.assign({{"w", weight}, {"b", torch::zeros({5})}});
  EXPECT_TRUE(at::equal(a.plain_weight(), weight.to(torch::kBFloat16)));
}

TEST(FlatParameters, FrozenValuesStayWhereTheyAre) {
  Linear a(3, 5), b(3, 2);
  FlatParameters flat(
      {{"unit", {{"w", a.plain_weight()}, {"b", a.bias()}}}, {"packed", {{"v", b.plain_weight()}}, /*packed=*/true}},
      {});
  flat.compute().fill_(2);
  const torch::Tensor weight = torch::randn({5, 3});
  EXPECT_TRUE(flat.adopt(flat.slices()[0], weight));
  EXPECT_EQ(a.plain_weight().const_data_ptr(), weight.const_data_ptr());
  EXPECT_EQ(a.bias().sum().item<float>(), 10);
  EXPECT_EQ(flat.compute().sum().item<float>(), 2 * static_cast<float>(flat.compute().numel()));

  EXPECT_FALSE(flat.adopt(flat.slices()[0], weight.to(torch::kFloat64)));
  EXPECT_FALSE(flat.adopt(flat.slices()[0], torch::randn({3, 5}).t()));
  EXPECT_FALSE(flat.adopt(flat.slices()[2], torch::randn({2, 3})));
  EXPECT_EQ(a.plain_weight().const_data_ptr(), weight.const_data_ptr());
}

TEST(FlatParameters, TrainedValuesAreCopied) {
  Linear a(3, 5);
  FlatParameters flat({{"unit", {{"w", a.plain_weight()}}}}, {.training = true});
  EXPECT_FALSE(flat.adopt(flat.slices()[0], torch::randn({5, 3})));
}

TEST(FlatParameters, OnTheMetaDeviceThereAreShapesAlone) {
  Linear a(1 << 20, 1 << 20);  // four TiB, were it placed
  FlatParameters flat({{"unit", {{"w", a.plain_weight()}}}}, {.device = torch::kMeta});
  EXPECT_EQ(flat.num_parameters(), int64_t{1} << 40);
}

}  // namespace
}  // namespace millrace
