// Flat parameters as the optimizer takes them, on ranks that are not there.
#include "train/parameter_group.h"

#include <gtest/gtest.h>

#include <map>

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

}  // namespace
}  // namespace millrace
