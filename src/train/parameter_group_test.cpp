// Flat parameters as the optimizer takes them, on ranks that are not there.
#include "train/parameter_group.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "comm/communicator.h"
#include "nn/linear.h"
#include "optim/adam_optimizer.h"
#include "train/two_units_test_support.h"

namespace millrace {
namespace {

// The weights after an update of bf16 weights by the same gradient everywhere, put together from all ranks.
std::map<std::string, torch::Tensor> stepped(int world_size, const MeshShape& shape) {
  std::map<std::string, torch::Tensor> whole;
  for (int rank = 0; rank < world_size; ++rank) {
    const std::shared_ptr<Communicator> ranks = fake(world_size, rank, {.shape = shape});
    const Linear a(31, 17), b(17, 5);
    FlatParametersOptions options;
    options.compute_dtype = torch::kBFloat16;
    options.training = options.without_masters = true;
    options.mesh = &ranks->mesh();
    FlatParameters flat(two_units(a, b), options);
    flat.master().fill_(1);
    flat.grad().fill_(1);
    AdamOptimizerOptions adam;
    adam.seed = 3;
    adam.weight_decay = 0;
    AdamOptimizer optimizer({parameter_group(flat)}, adam);
    optimizer.step(1e-3);
    for (const ParameterPiece& piece : flat.pieces()) {
      torch::Tensor& all = whole[piece.name];
      if (!all.defined()) all = torch::zeros({c10::multiply_integers(piece.global_shape)}, torch::kBFloat16);
      all.narrow(0, piece.offset, piece.size).copy_(piece.view(flat.master()));
    }
  }
  return whole;
}

TEST(ParameterGroup, RoundsAlikeOnAnyNumberOfDataRanks) {
  const auto alone = stepped(1, {});
  ASSERT_EQ(alone.size(), 4u);
  const torch::Tensor weight = alone.at("a.weight");
  EXPECT_LT(weight.min().item<float>(), 1) << "some weights move";
  EXPECT_EQ(weight.max().item<float>(), 1) << "and some do not";
  EXPECT_FALSE(torch::equal(weight.narrow(0, 0, 85), alone.at("b.weight").narrow(0, 0, 85)));
  for (const MeshShape& shape :
       {MeshShape{.dp_shard = 2}, MeshShape{.dp_shard = 3}, MeshShape{.dp_replicate = 2, .dp_shard = 2}}) {
    const auto many = stepped(shape.size(), shape);
    for (const auto& [name, tensor] : alone) {
      EXPECT_TRUE(torch::equal(many.at(name), tensor)) << name << " on " << to_string(shape);
    }
  }
}

// Whole parameters after steps of AdamW with the gradient that each element's place gives; factors: of a's and of b's
// rate.
std::map<std::string, torch::Tensor> stepped_at(int world_size, const MeshShape& shape, double of_a, double of_b,
                                                bool in_groups) {
  std::map<std::string, torch::Tensor> whole;
  for (int rank = 0; rank < world_size; ++rank) {
    const std::shared_ptr<Communicator> ranks = fake(world_size, rank, {.shape = shape});
    const Linear a(31, 17), b(17, 5);
    FlatParametersOptions options;
    options.training = true;
    options.mesh = &ranks->mesh();
    UnitSpec unit{"all", {}};
    for (const UnitSpec& each : two_units(a, b)) {
      unit.parameters.insert(unit.parameters.end(), each.parameters.begin(), each.parameters.end());
    }
    FlatParameters flat({unit}, options);
    std::vector<RateGroup> rates;
    if (in_groups) rates = {{"a", of_a, {"a.weight", "a.bias"}}, {"b", of_b, {"b.weight", "b.bias"}}};
    flat.master().zero_();
    AdamOptimizerOptions adam;
    adam.weight_decay = 0;
    AdamOptimizer optimizer(parameter_groups(flat, rates, flat.grad()), adam);
    for (int step = 1; step <= 3; ++step) {
      for (const ParameterPiece& piece : flat.pieces()) {
        torch::Tensor grad = piece.view(flat.grad());
        grad.copy_(at::sin(at::arange(piece.offset, piece.offset + piece.size, torch::kFloat32) * step));
      }
      optimizer.step(1e-3);
    }
    for (const ParameterPiece& piece : flat.pieces()) {
      torch::Tensor& all = whole[piece.name];
      if (!all.defined()) all = torch::zeros({c10::multiply_integers(piece.global_shape)});
      all.narrow(0, piece.offset, piece.size).copy_(piece.view(flat.master()));
    }
    if (flat.pieces().empty()) continue;  // padding alone
    int64_t grouped = 0;
    for (const FlatGroup& group : optimizer.groups()) grouped += group.master.numel();
    EXPECT_EQ(grouped, flat.master().numel());
  }
  return whole;
}

TEST(ParameterGroups, HaveTheirOwnRatesOnAnyNumberOfRanks) {
  const auto plain = stepped_at(1, {}, 1, 1, /*in_groups=*/false);
  const auto rated = stepped_at(1, {}, 1, 4, /*in_groups=*/true);
  EXPECT_TRUE(torch::equal(rated.at("a.weight"), plain.at("a.weight")));
  // From zero, without decay, a step is in proportion to its rate.
  EXPECT_TRUE(torch::allclose(rated.at("b.weight"), plain.at("b.weight") * 4, 1e-4, 1e-7));
  const auto frozen = stepped_at(1, {}, 0, 1, /*in_groups=*/true);
  EXPECT_EQ(frozen.at("a.weight").count_nonzero().item<int64_t>(), 0);
  EXPECT_TRUE(torch::equal(frozen.at("b.bias"), plain.at("b.bias")));
  // Of 20 ranks some hold nothing of one of the groups.
  for (const MeshShape& shape : {MeshShape{.dp_shard = 2}, MeshShape{.dp_shard = 3}, MeshShape{.dp_shard = 20},
                                 MeshShape{.dp_replicate = 2, .dp_shard = 2}}) {
    const auto many = stepped_at(shape.size(), shape, 1, 4, /*in_groups=*/true);
    for (const auto& [name, tensor] : rated) {
      EXPECT_TRUE(torch::equal(many.at(name), tensor)) << name << " on " << to_string(shape);
    }
  }
}

TEST(ParameterGroups, ThatDoNotFollowTheLayoutAreAMistakeOfTheProgram) {
  const Linear a(3, 2), b(2, 5);
  FlatParametersOptions options;
  options.training = true;
  const FlatParameters flat(two_units(a, b), options);
  const auto grouped = [&](const std::vector<RateGroup>& rates) { return parameter_groups(flat, rates, flat.grad()); };
  EXPECT_EQ(grouped({}).size(), 1u);
  EXPECT_THROW(grouped({{"b", 1, {"b.weight", "b.bias"}}, {"a", 1, {"a.weight", "a.bias"}}}), LogicError);
  EXPECT_THROW(grouped({{"a", 1, {"a.weight", "a.bias"}}}), LogicError);
}

}  // namespace
}  // namespace millrace
