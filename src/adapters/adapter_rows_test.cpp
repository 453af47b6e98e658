#include "adapters/adapter_rows.h"

#include <gtest/gtest.h>

#include "adapters/adapter_test_support.h"
#include "adapters/join_rows.h"
#include "adapters/merge_adapter.h"
#include "adapters/read_adapters.h"
#include "base/error.h"

namespace millrace {
namespace {

constexpr int64_t kOutputs = 24, kInputs = 6;
const std::vector<RowRange> kRanges = {{0, 8}, {8, 4}, {12, 12}};

using Shapes = std::map<std::string, std::vector<int64_t>>;

AdapterTensors random_adapter(AdapterKind kind, const Shapes& shapes) {
  AdapterTensors adapter{"layer", kind, 0, -1, 0.75, {}};
  for (const auto& [role, shape] : shapes) adapter.tensors[role] = {role, torch::randn(shape)};
  return adapter;
}

const Shapes kLoraShapes = {{"down", {2, kInputs}}, {"up", {kOutputs, 2}}};
const Shapes kDoraShapes = {{"down", {2, kInputs}}, {"up", {kOutputs, 2}}, {"magnitude", {kOutputs}}};
const Shapes kLohaShapes = {
    {"w1_a", {kOutputs, 2}}, {"w1_b", {2, kInputs}}, {"w2_a", {kOutputs, 2}}, {"w2_b", {2, kInputs}}};
const Shapes kLokrOfBlocks = {{"w1", {6, 2}}, {"w2_a", {4, 1}}, {"w2_b", {1, 3}}};
const Shapes kLokrOfThinBlocks = {{"w1_a", {6, 1}}, {"w1_b", {1, 2}}, {"w2", {4, 3}}};
const Shapes kLokrOfOneBlock = {{"w1", {1, 2}}, {"w2_a", {24, 1}}, {"w2_b", {1, 3}}};

// The parts as a file has them: rows of one layer.
std::vector<AdapterTensors> placed_parts_of(const AdapterTensors& whole, const std::vector<RowRange>& ranges) {
  std::vector<AdapterTensors> parts = take_apart(whole, ranges).value();
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i].row_begin = ranges[i].begin;
    parts[i].row_end = ranges[i].begin + ranges[i].size;
  }
  return parts;
}

AdapterTensors joined_of(const std::vector<AdapterTensors>& parts) {
  std::vector<const AdapterTensors*> pointers;
  for (const AdapterTensors& part : parts) pointers.push_back(&part);
  return put_together(pointers, kOutputs);
}

TEST(AdapterRows, PartsChangeTheirRowsAndAreTheSameWholeAgain) {
  torch::manual_seed(3);
  for (const auto& [kind, shapes] : {std::pair{AdapterKind::kLora, kLoraShapes},
                                     {AdapterKind::kDora, kDoraShapes},
                                     {AdapterKind::kLoha, kLohaShapes},
                                     {AdapterKind::kLokr, kLokrOfBlocks},
                                     {AdapterKind::kLokr, kLokrOfThinBlocks},
                                     {AdapterKind::kLokr, kLokrOfOneBlock}}) {
    const AdapterTensors whole = random_adapter(kind, shapes);
    const torch::Tensor change = weight_change(whole);
    std::vector<AdapterTensors> parts = placed_parts_of(whole, kRanges);
    for (size_t i = 0; i < parts.size(); ++i) {
      EXPECT_LT(relative_error(weight_change(parts[i]), change.narrow(0, kRanges[i].begin, kRanges[i].size)), 1e-6);
    }
    std::swap(parts[0], parts[2]);  // files need no order
    const AdapterTensors again = joined_of(parts);
    ASSERT_EQ(again.tensors.size(), shapes.size());
    EXPECT_EQ(again.row_end, -1);
    for (const auto& [role, shape] : shapes) {
      EXPECT_TRUE(torch::equal(again.tensors.at(role).values, whole.tensors.at(role).values)) << role;
    }
  }
}

TEST(AdapterRows, PartsWithMatricesOfTheirOwnAreBlocks) {
  torch::manual_seed(4);
  const std::vector<RowRange> halves = {{0, 12}, {12, 12}};
  for (const AdapterKind kind : {AdapterKind::kLora, AdapterKind::kDora, AdapterKind::kLoha}) {
    const Shapes& shapes = kind == AdapterKind::kLora   ? kLoraShapes
                           : kind == AdapterKind::kDora ? kDoraShapes
                                                        : kLohaShapes;
    const std::vector<AdapterTensors> one = placed_parts_of(random_adapter(kind, shapes), halves),
                                      other = placed_parts_of(random_adapter(kind, shapes), halves);
    std::vector<AdapterTensors> own = {one[0], other[1]};
    own[1].scale = 0.5;
    const AdapterTensors whole = joined_of(own);
    EXPECT_EQ(sizes_of(whole).rank, 4);
    const torch::Tensor change = at::cat({weight_change(own[0]), weight_change(own[1])}, 0);
    EXPECT_LT(relative_error(weight_change(whole), change), 1e-6);
    const std::vector<AdapterTensors> apart = take_apart(whole, halves).value();
    EXPECT_EQ(sizes_of(apart[0]).rank, 2) << "as they were";
    EXPECT_LT(relative_error(weight_change(apart[1]), weight_change(own[1])), 1e-6);
  }
}

TEST(AdapterRows, KroneckerProductsWithoutACommonMatrixBecomeLora) {
  torch::manual_seed(5);
  const std::vector<RowRange> halves = {{0, 12}, {12, 12}};
  const Shapes shapes = {{"w1_a", {6, 1}}, {"w1_b", {1, 2}}, {"w2_a", {4, 1}}, {"w2_b", {1, 3}}};
  const AdapterTensors one = random_adapter(AdapterKind::kLokr, shapes),
                       other = random_adapter(AdapterKind::kLokr, shapes);
  const std::vector<AdapterTensors> own = {placed_parts_of(one, halves)[0], placed_parts_of(other, halves)[1]};
  const AdapterTensors whole = joined_of(own);
  EXPECT_EQ(whole.kind, AdapterKind::kLora);
  EXPECT_LT(relative_error(weight_change(whole), at::cat({weight_change(own[0]), weight_change(own[1])}, 0)), 1e-6);
}

TEST(AdapterRows, WhatIsNoPartOfAKroneckerProductIsToldApart) {
  const AdapterTensors lokr = random_adapter(AdapterKind::kLokr, kLokrOfBlocks);
  EXPECT_FALSE(take_apart(lokr, {{0, 6}, {6, 18}}));  // a block and a half
  EXPECT_TRUE(take_apart(lokr, {{4, 2}, {6, 2}}));    // within a block
  const std::vector<AdapterTensors> dora = placed_parts_of(random_adapter(AdapterKind::kDora, kDoraShapes), kRanges);
  EXPECT_THROW(joined_of({dora[0], dora[2]}), ModelError);
}

TEST(AdapterRows, HalvesAreSwapped) {
  torch::manual_seed(6);
  for (const auto& [kind, shapes] : {std::pair{AdapterKind::kDora, kDoraShapes},
                                     {AdapterKind::kLoha, kLohaShapes},
                                     {AdapterKind::kLokr, kLokrOfBlocks},
                                     {AdapterKind::kLokr, kLokrOfOneBlock}}) {
    const AdapterTensors adapter = random_adapter(kind, shapes);
    const std::vector<torch::Tensor> halves = weight_change(adapter).chunk(2, 0);
    EXPECT_LT(relative_error(weight_change(with_halves_swapped(adapter).value()), at::cat({halves[1], halves[0]}, 0)),
              1e-6);
  }
  EXPECT_FALSE(with_halves_swapped(random_adapter(AdapterKind::kLokr, {{"w1", {3, 2}}, {"w2", {8, 3}}})));
}

}  // namespace
}  // namespace millrace
