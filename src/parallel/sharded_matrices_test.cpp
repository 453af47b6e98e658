#include "parallel/sharded_matrices.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "comm/socket_ranks_test_support.h"
#include "kernels/quantised/quantise_tensor.h"
#include "nn/linear.h"
#include "nn/quantised_weight.h"
#include "parallel/flat_parameters.h"

namespace millrace {
namespace {

using Part = QuantisedWeight::Part;

// Matrices [3 + 2 i, 256] of every kind, of which 0 and 1 belong to unit 0, the rest to unit 2; unit 1 has none. The
// last one has rows in GGUF's blocks and dense ones.
std::vector<std::vector<Part>> every_kind() {
  torch::manual_seed(3);
  std::vector<std::vector<Part>> matrices;
  for (const QuantisedAs as : {QuantisedAs::kNf4, QuantisedAs::kFp8, QuantisedAs::kFp8Unscaled, QuantisedAs::kInt8,
                               QuantisedAs::kNf4Torchao}) {
    const int64_t rows = 3 + 2 * static_cast<int64_t>(matrices.size());
    matrices.push_back({{.quantised = quantise(torch::randn({rows, 256}), as)}});
  }
  QuantisedTensor blocks{.kind = QuantisedKind::kBlocks, .format = BlockFormat::kQ8_0, .rows = 4, .columns = 256};
  const int64_t bytes = code_bytes(blocks.kind, blocks.format, blocks.rows, blocks.columns);
  // Codes and halves of both, which are finite numbers as long as no byte is above 0x7B.
  blocks.codes = torch::randint(0, 0x7B, {bytes}, torch::kUInt8);
  matrices.push_back({{.quantised = blocks}, {.dense_RK = torch::randn({9, 256})}});
  return matrices;
}

Part sizes_of(Part part) {
  if (part.dense_RK.defined()) return {.dense_RK = part.dense_RK.to(torch::kMeta)};
  return {.quantised = part.quantised.to(torch::kMeta)};
}

// A rank's model of those matrices, whose units also have a dense parameter.
class ShardedModel {
 public:
  ShardedModel(const std::vector<std::vector<Part>>& matrices, Mesh& mesh, Reshard reshard) {
    std::vector<UnitSpec> units;
    for (const char* name : {"first", "middle", "last"}) {
      biases_.push_back(std::make_shared<Linear>(2, 3));
      units.push_back({name, {{str(name, ".bias"), biases_.back()->bias()}}});
    }
    for (const std::vector<Part>& parts : matrices) {
      int64_t rows = 0;
      for (const Part& part : parts) rows += part.rows();
      weights_.push_back(std::make_unique<QuantisedWeight>(256, rows));
      units[weights_.size() <= 2 ? 0 : 2].quantised.push_back(weights_.back().get());
    }
    flat_ = std::make_unique<FlatParameters>(units, FlatParametersOptions{.mesh = &mesh, .reshard = reshard});
    for (size_t i = 0; i < matrices.size(); ++i) {
      std::vector<Part> sizes;
      for (const Part& part : matrices[i]) sizes.push_back(sizes_of(part));
      weights_[i]->assign(sizes);
    }
    sharded().lay_out();
    for (size_t i = 0; i < matrices.size(); ++i) {
      if (!sharded().owns(*weights_[i])) continue;
      weights_[i]->assign(matrices[i]);
      sharded().keep(*weights_[i]);
    }
  }

  ShardedMatrices& sharded() { return *flat_->sharded_matrices(); }
  FlatParameters& flat() { return *flat_; }
  QuantisedWeight& weight(size_t i) { return *weights_[i]; }

 private:
  std::vector<std::shared_ptr<Linear>> biases_;
  std::vector<std::unique_ptr<QuantisedWeight>> weights_;
  std::unique_ptr<FlatParameters> flat_;
};

torch::Tensor values_of(const QuantisedWeight& weight) {
  torch::Tensor values = torch::empty({weight.out_features(), weight.in_features()});
  weight.unpack(0, 0, values);
  return values;
}

std::vector<torch::Tensor> whole_values(const std::vector<std::vector<Part>>& matrices) {
  std::vector<torch::Tensor> all;
  for (const std::vector<Part>& parts : matrices) {
    int64_t rows = 0;
    for (const Part& part : parts) rows += part.rows();
    QuantisedWeight weight(256, rows);
    weight.assign(parts);
    all.push_back(values_of(weight));
  }
  return all;
}

TEST(ShardedMatrices, HaveTheBitsOfWholeOnesInEveryPass) {
  const std::vector<std::vector<Part>> matrices = every_kind();
  const std::vector<torch::Tensor> expected = whole_values(matrices);
  for (const int count : {2, 3}) {
    for (const Reshard reshard : {Reshard::kDefault, Reshard::kAlways, Reshard::kNever}) {
      as_ranks(count, {.dp_shard = count}, [&](Communicator& ranks) {
        ShardedModel model(matrices, ranks.mesh(), reshard);
        const auto expect_values = [&](size_t unit) {
          for (size_t i = 0; i < matrices.size(); ++i) {
            if (unit != (i < 2 ? 0 : 2)) continue;
            EXPECT_TRUE(at::equal(values_of(model.weight(i)), expected[i])) << count << " ranks, matrix " << i;
          }
        };
        for (int step = 0; step < 2; ++step) {
          for (size_t unit = 0; unit < 3; ++unit) {
            const UnitUse use = model.flat().forward_unit(unit, /*keep=*/true);
            expect_values(unit);
          }
          for (size_t unit = 3; unit-- > 0;) {
            const UnitUse use = model.flat().backward_unit(unit);
            expect_values(unit);
          }
          if (step == 0) model.flat().finish_backward();
        }
      });
    }
  }
}

TEST(ShardedMatrices, HaveNoValuesBetweenUses) {
  const auto ranks = fake(2, 0, {.shape = {.dp_shard = 2}});
  ShardedModel model(every_kind(), ranks->mesh(), Reshard::kAlways);
  torch::Tensor out = torch::empty({1, 3});
  EXPECT_THROW(model.weight(0).forward(out, torch::ones({1, 256})), LogicError);
  { const UnitUse use = model.flat().forward_unit(0, /*keep=*/true); }
  EXPECT_THROW(model.weight(0).forward(out, torch::ones({1, 256})), LogicError);
}

TEST(ShardedMatrices, ARankHoldsItsShareAndReadsWhatItHoldsOf) {
  const std::vector<std::vector<Part>> matrices = every_kind();
  for (const int count : {2, 3, 8}) {
    int64_t all = 0;
    std::vector<int> owners(matrices.size(), 0);
    for (int rank = 0; rank < count; ++rank) {
      const auto ranks = fake(count, rank, {.shape = {.dp_shard = count}});
      ShardedModel model(matrices, ranks->mesh(), Reshard::kDefault);
      all = model.sharded().bytes(0) + model.sharded().bytes(2);
      EXPECT_EQ(model.sharded().own_bytes() * count, all);
      EXPECT_EQ(model.sharded().bytes(1), 0);
      for (size_t i = 0; i < matrices.size(); ++i) owners[i] += model.sharded().owns(model.weight(i));
    }
    EXPECT_EQ(std::count(owners.begin(), owners.end(), 0), 0);
    EXPECT_LT(*std::min_element(owners.begin(), owners.end()), count) << "none is read by all";
  }
}

// Of both units, once in each pass.
TEST(ShardedMatrices, GatherTheirBytesOncePerPass) {
  const auto ranks = fake(2, 0, {.shape = {.dp_shard = 2}});
  ShardedModel model(every_kind(), ranks->mesh(), Reshard::kAlways);
  const auto gathered = [&] { return ranks->mesh().shard().traffic()[Collective::kAllGather].payload_bytes; };
  const int64_t dense = model.flat().layout().size() * 4, before = gathered();
  for (size_t unit = 0; unit < 3; ++unit) model.flat().forward_unit(unit, /*keep=*/true);
  for (size_t unit = 3; unit-- > 0;) model.flat().backward_unit(unit);
  EXPECT_EQ(gathered() - before, 2 * (dense + model.sharded().bytes(0) + model.sharded().bytes(2)));
}

}  // namespace
}  // namespace millrace
