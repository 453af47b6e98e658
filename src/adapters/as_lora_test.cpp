#include "adapters/as_lora.h"

#include <gtest/gtest.h>

#include "adapters/adapter_test_support.h"
#include "adapters/merge_adapter.h"
#include "adapters/read_adapters.h"

namespace millrace {
namespace {

using Shapes = std::map<std::string, std::vector<int64_t>>;

AdapterTensors adapter_of(AdapterKind kind, const Shapes& shapes) {
  AdapterTensors adapter{"layer", kind, 0, -1, 0.75, {}};
  for (const auto& [role, shape] : shapes) adapter.tensors[role] = {role, torch::randn(shape)};
  return adapter;
}

TEST(AsLora, ComputesTheSame) {
  struct Case {
    AdapterKind kind;
    Shapes shapes;
    int64_t rank;
  };
  const std::vector<Case> cases = {
      {AdapterKind::kLokr, {{"w1_a", {4, 1}}, {"w1_b", {1, 3}}, {"w2_a", {6, 2}}, {"w2_b", {2, 5}}}, 2},
      {AdapterKind::kLokr, {{"w1", {3, 2}}, {"w2_a", {8, 1}}, {"w2_b", {1, 9}}}, 2},
      {AdapterKind::kLokr, {{"w1", {2, 3}}, {"w2_a", {12, 1}}, {"w2_b", {1, 6}}}, 2},
      {AdapterKind::kLoha, {{"w1_a", {24, 2}}, {"w1_b", {2, 15}}, {"w2_a", {24, 2}}, {"w2_b", {2, 15}}}, 4},
      {AdapterKind::kLora, {{"down", {2, 15}}, {"up", {24, 2}}}, 2},
  };
  torch::manual_seed(7);
  for (const Case& test : cases) {
    const AdapterTensors adapter = adapter_of(test.kind, test.shapes);
    const AdapterTensors lora = as_lora(adapter).value();
    EXPECT_EQ(lora.kind, AdapterKind::kLora);
    EXPECT_EQ(sizes_of(lora).rank, test.rank);
    EXPECT_LT(relative_error(weight_change(lora), weight_change(adapter)), 1e-6);
  }
}

TEST(AsLora, IsNotLargerThanTheLayer) {
  EXPECT_FALSE(as_lora(adapter_of(AdapterKind::kLokr, {{"w1", {2, 2}}, {"w2", {8, 8}}})));
  EXPECT_FALSE(as_lora(adapter_of(AdapterKind::kDora, {{"down", {1, 9}}, {"up", {9, 1}}, {"magnitude", {9}}})));
}

}  // namespace
}  // namespace millrace
