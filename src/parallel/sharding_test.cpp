// Sharded parameters among ranks that are not there: what is sent, what is kept, who sees what.
#include <gtest/gtest.h>

#include "comm/communicator.h"
#include "nn/linear.h"
#include "parallel/flat_parameters.h"

namespace millrace {
namespace {

struct Layers {
  Linear a{3, 5}, b{5, 7}, c{7, 2};
  std::vector<UnitSpec> units() {
    return {{"a", {{"a.weight", a.plain_weight()}, {"a.bias", a.bias()}}},
            {"b", {{"b.weight", b.plain_weight()}, {"b.bias", b.bias()}}},
            {"c", {{"c.weight", c.plain_weight()}, {"c.bias", c.bias()}}}};
  }
};

class Sharding : public testing::Test {
 protected:
  FlatParameters& make(const MeshShape& shape, FlatParametersOptions options = {}) {
    ranks_ = fake(shape.size(), 0, {.shape = shape});
    options.training = true;
    options.mesh = &ranks_->mesh();
    flat_ = std::make_unique<FlatParameters>(layers_.units(), options);
    return *flat_;
  }
  void pass(bool last = true) {
    flat_->set_last_microbatch(last);
    for (size_t i = 0; i < 3; ++i) flat_->forward_unit(i, /*keep=*/true);
    for (size_t i = 3; i-- > 0;) flat_->backward_unit(i).grad().add_(1);
  }
  int64_t calls(MeshAxis axis, Collective kind) { return ranks_->mesh().group(axis).traffic()[kind].calls; }

  std::shared_ptr<Communicator> ranks_;
  Layers layers_;
  std::unique_ptr<FlatParameters> flat_;
};

TEST_F(Sharding, ModulesHaveMemoryWhileTheirUnitIsInUse) {
  FlatParameters& flat = make({.dp_shard = 2});
  flat.compute().fill_(3);
  {
    const UnitUse use = flat.forward_unit(1, true);
    // Rank 0's half of the gathered buffer holds its numbers; the other half would be rank 1's.
    EXPECT_EQ(use.compute().numel(), flat.units()[1].size);
    EXPECT_TRUE(at::equal(use.compute().narrow(0, 0, 64), torch::full({64}, 3.0f)));
    EXPECT_TRUE(layers_.b.plain_weight().is_alias_of(use.compute()));
    EXPECT_FALSE(layers_.b.bias().grad().defined());
  }
  EXPECT_FALSE(layers_.b.plain_weight().is_alias_of(flat.compute()));
  EXPECT_EQ(layers_.b.plain_weight().sizes(), c10::IntArrayRef({7, 5}));
  {
    const UnitUse use = flat.backward_unit(1);
    EXPECT_TRUE(layers_.b.plain_weight().grad().is_alias_of(use.grad()));
    EXPECT_EQ(use.grad().abs().sum().item<float>(), 0);
  }
  EXPECT_FALSE(layers_.b.plain_weight().grad().defined());
}

TEST_F(Sharding, FrozenValuesAreCopiedWhereRanksShareThem) {
  for (const MeshShape& shape : {MeshShape{.dp_shard = 2}, MeshShape{.dp_replicate = 2}}) {
    Layers layers;
    ranks_ = fake(shape.size(), 0, {.shape = shape});
    FlatParameters flat(layers.units(), {.mesh = &ranks_->mesh()});
    EXPECT_EQ(flat.adopt(flat.slices()[0], torch::randn({5, 3})), shape.dp_shard == 1);
  }
}

TEST_F(Sharding, TheNextUnitIsGatheredAheadAndTheLastIsKept) {
  make({.dp_shard = 2});
  flat_->forward_unit(0, true);
  EXPECT_EQ(calls(MeshAxis::kShard, Collective::kAllGather), 2);
  flat_->forward_unit(1, true);
  flat_->forward_unit(2, true);
  EXPECT_EQ(calls(MeshAxis::kShard, Collective::kAllGather), 3);
  flat_->backward_unit(2);
  EXPECT_EQ(calls(MeshAxis::kShard, Collective::kAllGather), 4);  // of unit 1
}

TEST_F(Sharding, EveryReshardPolicyGathersAsOftenAsItSays) {
  for (const auto& [reshard, gathers] :
       {std::pair{Reshard::kDefault, 10}, {Reshard::kAlways, 12}, {Reshard::kNever, 3}}) {
    make({.dp_shard = 4}, {.reshard = reshard});
    pass(/*last=*/false);
    pass(/*last=*/true);
    flat_->finish_backward();
    EXPECT_EQ(calls(MeshAxis::kShard, Collective::kAllGather), gathers);
    EXPECT_EQ(calls(MeshAxis::kShard, Collective::kReduceScatter), 3);
  }
}

TEST_F(Sharding, WeightsThatChangeAreGatheredAgain) {
  FlatParameters& flat = make({.dp_shard = 2}, {.reshard = Reshard::kNever});
  flat.compute().fill_(1);
  pass();
  flat.finish_backward();
  flat.compute().fill_(2);
  EXPECT_EQ(flat.forward_unit(0, false).compute()[0].item<float>(), 2);
  flat.compute().fill_(4);  // as averaged weights do, between passes without gradients
  EXPECT_EQ(flat.forward_unit(0, false).compute()[0].item<float>(), 4);
}

TEST_F(Sharding, MicrobatchesBeforeTheLastSendNoGradients) {
  for (const MeshShape& shape : {MeshShape{.dp_shard = 3}, {.dp_replicate = 2}, {.dp_replicate = 2, .dp_shard = 2}}) {
    make(shape);
    for (int i = 0; i < 3; ++i) {
      pass(/*last=*/false);
      EXPECT_EQ(calls(MeshAxis::kShard, Collective::kReduceScatter), 0);
      EXPECT_EQ(calls(MeshAxis::kReplicate, Collective::kAllReduce), 0);
    }
    pass();
    flat_->finish_backward();
    EXPECT_EQ(calls(MeshAxis::kShard, Collective::kReduceScatter), shape.dp_shard > 1 ? 3 : 0);
    EXPECT_EQ(calls(MeshAxis::kReplicate, Collective::kAllReduce), shape.dp_replicate > 1 ? 3 : 0);
  }
}

TEST_F(Sharding, EveryMicrobatchIsReducedIfAskedFor) {
  for (const MeshShape& shape : {MeshShape{.dp_shard = 3}, {.dp_replicate = 2}, {.dp_replicate = 2, .dp_shard = 2}}) {
    make(shape, {.compute_dtype = torch::kBFloat16, .reduce_every_microbatch = true});
    for (int i = 1; i <= 4; ++i) {
      pass(/*last=*/i == 4);
      flat_->finish_backward();
      EXPECT_EQ(calls(MeshAxis::kShard, Collective::kReduceScatter), shape.dp_shard > 1 ? 3 * i : 0);
      EXPECT_EQ(calls(MeshAxis::kReplicate, Collective::kAllReduce), shape.dp_replicate > 1 ? 3 * i : 0);
    }
  }
}

TEST_F(Sharding, ReducedMicrobatchesAddUpExactly) {
  FlatParameters& flat =
      make({.dp_replicate = 2}, {.compute_dtype = torch::kBFloat16, .reduce_every_microbatch = true});
  for (int i = 0; i < 300; ++i) pass(/*last=*/i == 299);  // bfloat16 would stop at 256
  flat.finish_backward();
  EXPECT_EQ(FlatParameters::view(flat.grad(), flat.slices()[0]).min().item<float>(), 300);
}

// On one rank, in the buffer of the narrow gradients itself.
TEST_F(Sharding, NarrowSumsLoseNothingOnAverageAndRepeatTheirBits) {
  const FlatParametersOptions options = {
      .compute_dtype = torch::kBFloat16, .without_masters = true, .narrow_sums = true};
  std::vector<torch::Tensor> sums;
  for (const uint64_t seed : {7, 7, 8}) {
    FlatParameters& flat = make({}, options);
    EXPECT_TRUE(flat.sums_microbatches());
    EXPECT_EQ(flat.grad().scalar_type(), torch::kBFloat16);
    for (int i = 0; i < 400; ++i) {
      flat.round_sums_at_random(seed, i + 1);
      pass(/*last=*/i == 399);
    }
    flat.finish_backward();
    sums.push_back(flat.grad().clone());
  }
  EXPECT_TRUE(at::equal(sums[0], sums[1]));
  EXPECT_FALSE(at::equal(sums[0], sums[2]));
  const float mean = FlatParameters::view(sums[0], flat_->slices()[2]).to(torch::kFloat32).mean().item<float>();
  EXPECT_NEAR(mean, 400, 20);  // of 35 sums that are 400 +- 12; to nearest they would be 256
}

TEST_F(Sharding, NarrowMicrobatchesAddUpExactly) {
  for (const torch::Dtype reduce : {torch::kFloat32, torch::kBFloat16}) {
    FlatParameters& flat = make({.dp_replicate = 2}, {.compute_dtype = torch::kBFloat16, .reduce_dtype = reduce});
    for (int step = 0; step < 2; ++step) {
      flat.grad().zero_();
      for (int i = 0; i < 300; ++i) pass(/*last=*/i == 299);  // bfloat16 would stop at 256
      flat.finish_backward();
      const float expected = reduce == torch::kFloat32 ? 300 : torch::tensor(300.0f).to(reduce).item<float>();
      EXPECT_EQ(flat.grad().scalar_type(), torch::kFloat32);
      EXPECT_EQ(layers_.a.plain_weight().grad().defined(), false);
      EXPECT_EQ(flat.grad().min().item<float>(), expected);  // the fake group moves nothing: this rank's own
    }
  }
}

TEST_F(Sharding, OneRankOfAMeshIsLikeNone) {
  FlatParameters& flat = make({});
  EXPECT_TRUE(layers_.a.plain_weight().is_alias_of(flat.compute()));
  EXPECT_TRUE(layers_.a.plain_weight().grad().is_alias_of(flat.grad()));
  pass();
  flat.finish_backward();
  EXPECT_EQ(flat.grad().min().item<float>(), 1);
  EXPECT_EQ(ranks_->mesh().world().traffic().total().calls, 0);
}

TEST_F(Sharding, AnExceptionLeavesAUnitInPeace) {
  make({.dp_shard = 2});
  EXPECT_THROW(
      {
        const UnitUse use = flat_->backward_unit(2);
        throw std::runtime_error("bad sample");
      },
      std::runtime_error);
  EXPECT_EQ(calls(MeshAxis::kShard, Collective::kReduceScatter), 0);
}

TEST_F(Sharding, FrozenModulesAreShardedToo) {
  ranks_ = fake(2, 1, {.shape = {.dp_shard = 2}});
  FlatParameters flat(layers_.units(), {.mesh = &ranks_->mesh()});
  flat.compute().fill_(3);
  EXPECT_FALSE(flat.master().defined());
  EXPECT_FALSE(flat.grad().defined());
  for (size_t i = 0; i < 3; ++i) {
    const UnitUse use = flat.forward_unit(i, /*keep=*/false);
    EXPECT_EQ(use.compute()[flat.units()[i].size - 1].item<float>(), 3);  // rank 1 has the second half
  }
  EXPECT_EQ(calls(MeshAxis::kShard, Collective::kAllGather), 3);
}

TEST_F(Sharding, AssignFillsThisRanksPart) {
  FlatParameters& flat = make({.dp_shard = 2}, {.compute_dtype = torch::kBFloat16});
  std::map<std::string, torch::Tensor> whole;
  for (const auto& [name, shape] : flat.shapes()) whole[name] = torch::randn(shape);
  flat.assign(whole);
  int64_t filled = 0;
  for (const ParameterPiece& piece : flat.pieces()) {
    const torch::Tensor expected = whole[piece.name].view({-1}).narrow(0, piece.offset, piece.size);
    EXPECT_TRUE(at::equal(piece.view(flat.master()), expected));
    EXPECT_TRUE(at::equal(piece.view(flat.compute()), expected.to(torch::kBFloat16)));
    filled += piece.size;
  }
  EXPECT_GT(filled, 0);
  EXPECT_LT(filled, flat.num_parameters());
}

}  // namespace
}  // namespace millrace
