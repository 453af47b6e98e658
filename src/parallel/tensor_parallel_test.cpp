#include "parallel/tensor_parallel.h"

#include <gtest/gtest.h>

#include "comm/communicator.h"

namespace millrace {
namespace {

TEST(SharedGradients, OnOneRankAreTheGradientsThemselves) {
  const torch::Tensor a = torch::ones({3}), b = torch::ones({2, 2});
  SharedGradients shared(nullptr, {a, torch::Tensor(), b});
  shared.target(0).add_(1);
  shared.target(2).add_(2);
  EXPECT_FALSE(shared.target(1).defined());
  shared.finish();
  EXPECT_EQ(a.sum().item<float>(), 6);
  EXPECT_EQ(b.sum().item<float>(), 12);
}

TEST(SharedGradients, AreSummedOnceForAllInFp32) {
  const auto ranks = fake(2, 0, {.shape = {.tp = 2}});
  Group& tp = ranks->mesh().tp();
  const torch::Tensor a = torch::ones({3}, torch::kBFloat16), b = torch::ones({2, 2}, torch::kBFloat16);
  SharedGradients shared(&tp, {a, torch::Tensor(), b});
  shared.target(0).add_(0x1p-12);
  shared.target(0).add_(1);
  shared.target(2).add_(2);
  EXPECT_EQ(shared.target(0).scalar_type(), torch::kFloat32);
  EXPECT_EQ(shared.target(0)[0].item<float>(), 1 + 0x1p-12f);
  EXPECT_EQ(a.to(torch::kFloat32).sum().item<float>(), 3);  // not yet
  shared.finish();
  EXPECT_EQ(a.to(torch::kFloat32).sum().item<float>(), 6);
  EXPECT_EQ(b.to(torch::kFloat32).sum().item<float>(), 12);
  EXPECT_EQ(tp.traffic()[Collective::kAllReduce].calls, 1);
  EXPECT_EQ(tp.traffic()[Collective::kAllReduce].payload_bytes, 7 * 4);
}

TEST(SharedGradients, OfFrozenParametersSendNothing) {
  const auto ranks = fake(2, 0, {.shape = {.tp = 2}});
  SharedGradients shared(&ranks->mesh().tp(), {torch::Tensor(), torch::Tensor()});
  shared.finish();
  EXPECT_FALSE(shared.target(0).defined());
  EXPECT_EQ(ranks->mesh().tp().traffic().total().calls, 0);
}

}  // namespace
}  // namespace millrace
