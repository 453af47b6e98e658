// What one FLUX step sends and keeps on many ranks, counted by a group that moves nothing.
#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/communicator.h"
#include "models/flux/model.h"
#include "models/flux/shard_plan.h"

namespace millrace::flux {
namespace {

FluxConfig odd_config() {
  FluxConfig config;
  config.in_channels = config.out_channels = 5;
  config.vec_in_dim = 7;
  config.context_in_dim = 9;
  config.hidden_size = 72;
  config.num_heads = 6;
  config.mlp_ratio = 2.5;
  config.depth = 2;
  config.depth_single_blocks = 3;
  config.axes_dim = {4, 4, 4};
  return config;
}

FluxInputs inputs_of(const FluxConfig& config, int64_t batch) {
  FluxInputs inputs;
  inputs.img_BIC = torch::randn({batch, 6, config.in_channels});
  inputs.img_ids_BIA = torch::zeros({batch, 6, 3});
  inputs.txt_BTX = torch::randn({batch, 5, config.context_in_dim});
  inputs.txt_ids_BTA = torch::zeros({batch, 5, 3});
  inputs.timesteps_B = torch::rand({batch});
  inputs.y_BV = torch::randn({batch, config.vec_in_dim});
  return inputs;
}

constexpr int64_t kBatch = 2, kTokens = 11;

class ShardedFlux : public testing::Test {
 protected:
  void make(const MeshShape& shape, FlatParametersOptions options = {}, bool training = true) {
    ranks_ = fake(shape.size(), 0, {.shape = shape});
    options.training = training;
    options.mesh = &ranks_->mesh();
    model_ = std::make_shared<Flux>(odd_config(), options);
  }

  void step(Keep keep, int microbatches) {
    for (int i = 0; i < microbatches; ++i) {
      model_->flat_parameters().set_last_microbatch(i + 1 == microbatches);
      Flux::Saved saved;
      const torch::Tensor out = model_->forward(inputs_of(model_->config(), kBatch), &saved, keep);
      model_->backward(saved, torch::ones_like(out));
    }
    model_->flat_parameters().finish_backward();
  }

  TrafficCount traffic(MeshAxis axis, Collective kind) { return ranks_->mesh().group(axis).traffic()[kind]; }

  std::shared_ptr<Communicator> ranks_;
  std::shared_ptr<Flux> model_;
};

// Per step, with S bytes of all units and L of the last: 2 S - L gathered per microbatch (all units forward, all but
// the last backward), S scattered and S / shards reduced over replicas once.
TEST_F(ShardedFlux, BytesOnTheWireFollowTheFormula) {
  for (const MeshShape& shape : {MeshShape{.dp_shard = 2}, {.dp_shard = 5}, {.dp_replicate = 3, .dp_shard = 2}}) {
    for (const auto& [compute, reduce] : {std::pair{torch::kFloat32, torch::kFloat32},
                                          {torch::kBFloat16, torch::kFloat32},
                                          {torch::kBFloat16, torch::kBFloat16}}) {
      for (const Keep keep : {Keep::kAll, Keep::kOutputs, Keep::kInputs}) {
        for (const int microbatches : {1, 3}) {
          make(shape, {.compute_dtype = compute, .reduce_dtype = reduce});
          step(keep, microbatches);
          const auto& units = model_->flat_parameters().units();
          const int64_t all = model_->flat_parameters().layout().size(), last = units.back().size;
          const int64_t weight_bytes = c10::elementSize(compute), gradient_bytes = c10::elementSize(reduce);
          const int64_t n = shape.dp_shard, r = shape.dp_replicate;

          const TrafficCount gathers = traffic(MeshAxis::kShard, Collective::kAllGather);
          EXPECT_EQ(gathers.payload_bytes, microbatches * (2 * all - last) * weight_bytes);
          EXPECT_EQ(gathers.sent_bytes, gathers.payload_bytes / n * (n - 1));
          const TrafficCount scatters = traffic(MeshAxis::kShard, Collective::kReduceScatter);
          EXPECT_EQ(scatters.payload_bytes, all * gradient_bytes);
          EXPECT_EQ(scatters.calls, static_cast<int64_t>(units.size()));
          EXPECT_EQ(scatters.sent_bytes, all * gradient_bytes / n * (n - 1));
          const TrafficCount sums = traffic(MeshAxis::kReplicate, Collective::kAllReduce);
          EXPECT_EQ(sums.payload_bytes, r > 1 ? all / n * gradient_bytes : 0);
        }
      }
    }
  }
}

// Two sums over the ranks per block and direction for each stream, of activations; recomputing all repeats the forward
// ones. The scales of the QK norms add a few bytes.
TEST_F(ShardedFlux, TensorParallelSumsFollowTheFormula) {
  for (const int tp : {2, 3}) {
    for (const Keep keep : {Keep::kAll, Keep::kOutputs, Keep::kInputs}) {
      make({.tp = tp});
      step(keep, 1);
      const FluxConfig& config = model_->config();
      const int64_t activation = kBatch * kTokens * config.hidden_size * 4, scales = 2 * config.head_dim() * 4;
      const int64_t per_pass = (2 * config.depth + config.depth_single_blocks) * activation;
      const int64_t passes = keep == Keep::kInputs ? 3 : 2;
      const TrafficCount sums = traffic(MeshAxis::kTp, Collective::kAllReduce);
      EXPECT_EQ(sums.payload_bytes, passes * per_pass + (2 * config.depth + config.depth_single_blocks) * scales);
      EXPECT_EQ(traffic(MeshAxis::kWorld, Collective::kAllGather).calls, 0);
    }
  }
}

// A frozen model gathers as a trained one does and sends no gradient, of the scales that ranks share neither.
TEST_F(ShardedFlux, AFrozenModelSendsNoGradients) {
  for (const MeshShape& shape : {MeshShape{.dp_shard = 2}, {.dp_replicate = 2}, {.dp_replicate = 2, .dp_shard = 2}}) {
    make(shape, {}, /*training=*/false);
    step(Keep::kOutputs, 2);
    const int64_t all = model_->flat_parameters().layout().size(), last = model_->flat_parameters().units().back().size;
    EXPECT_EQ(traffic(MeshAxis::kShard, Collective::kAllGather).payload_bytes,
              shape.dp_shard > 1 ? 2 * (2 * all - last) * 4 : 0);
    EXPECT_EQ(traffic(MeshAxis::kShard, Collective::kReduceScatter).calls, 0);
    EXPECT_EQ(traffic(MeshAxis::kReplicate, Collective::kAllReduce).calls, 0);
  }
  make({.tp = 2}, {}, /*training=*/false);
  step(Keep::kOutputs, 1);
  const FluxConfig& config = model_->config();
  const int64_t activation = kBatch * kTokens * config.hidden_size * 4;
  EXPECT_EQ(traffic(MeshAxis::kTp, Collective::kAllReduce).payload_bytes,
            2 * (2 * config.depth + config.depth_single_blocks) * activation);
}

TEST_F(ShardedFlux, BytesPerRankFallWithTheRanks) {
  const auto elements = [&](const MeshShape& shape) {
    make(shape);
    const FlatParameters& flat = model_->flat_parameters();
    EXPECT_EQ(flat.master().numel(), flat.grad().numel());
    EXPECT_TRUE(flat.compute().is_same(flat.master()));
    return flat.master().numel();
  };
  const int64_t whole = elements({});
  for (const int shards : {2, 3, 4, 8}) {
    const int64_t share = elements({.dp_shard = shards});
    EXPECT_GE(share * shards, model_->flat_parameters().num_parameters());
    EXPECT_LE(share * shards, whole + static_cast<int64_t>(model_->flat_parameters().units().size()) * 64 * shards);
  }
}

TEST_F(ShardedFlux, EveryMeshStartsWithTheSameWeights) {
  const auto pieces_agree = [&](const MeshShape& shape) {
    Flux whole(odd_config(), {});
    whole.initialize(7);
    const auto expected = whole.flat_parameters().named_views(whole.flat_parameters().compute());
    for (int rank = 0; rank < shape.size(); ++rank) {
      ranks_ = fake(shape.size(), rank, {.shape = shape});
      Flux part(odd_config(), {.training = true, .mesh = &ranks_->mesh()});
      part.initialize(7);
      for (const ParameterPiece& piece : part.flat_parameters().pieces()) {
        const torch::Tensor& tensor = expected.at(piece.name);
        const torch::Tensor region =
            piece.is_box() ? tensor.narrow(0, piece.start[0], piece.shape[0]).narrow(1, piece.start[1], piece.shape[1])
                           : tensor.flatten().narrow(0, piece.offset, piece.size);
        ASSERT_TRUE(at::equal(piece.view(part.flat_parameters().master()), region)) << piece.name;
      }
    }
  };
  pieces_agree({.dp_shard = 3});
  pieces_agree({.dp_shard = 2, .tp = 2});
  pieces_agree({.tp = 3});
}

TEST(FluxShardPlan, DegreesThatDoNotDivideAreRefused) {
  EXPECT_NO_THROW(check_tensor_parallel(odd_config(), 3));
  EXPECT_THROW(check_tensor_parallel(odd_config(), 4), ConfigError);
  EXPECT_THROW(check_tensor_parallel(flavor("flux-schnell"), 5), ConfigError);
}

TEST(FluxShardPlan, CutsWhatMakesHeadsByRowsAndWhatJoinsThemByColumns) {
  const FluxConfig config = flavor("flux-schnell");
  EXPECT_EQ(tensor_split(config, "double_blocks.3.img_attn.qkv.bias").dim, 0);
  EXPECT_EQ(tensor_split(config, "double_blocks.3.txt_attn.proj.weight").dim, 1);
  EXPECT_EQ(tensor_split(config, "single_blocks.0.linear2.weight").groups, (std::vector<int64_t>{3072, 12288}));
  EXPECT_TRUE(tensor_split(config, "double_blocks.3.txt_attn.proj.bias").is_whole());
  EXPECT_TRUE(tensor_split(config, "single_blocks.0.modulation.lin.weight").is_whole());
}

}  // namespace
}  // namespace millrace::flux
