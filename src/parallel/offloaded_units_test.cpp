#include "parallel/offloaded_units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/communicator.h"
#include "kernels/quantised/quantise_tensor.h"
#include "nn/linear.h"
#include "nn/quantised_weight.h"
#include "parallel/flat_parameters.h"

namespace millrace {
namespace {

TEST(OffloadedUnits, AreSpreadOverTheBlocks) {
  const auto chosen = [](int64_t blocks, int64_t offloaded) {
    std::vector<int64_t> which;
    for (int64_t block = 0; block < blocks; ++block) {
      if (lies_on_host(block, blocks, offloaded)) which.push_back(block);
    }
    return which;
  };
  EXPECT_THAT(chosen(5, 0), testing::IsEmpty());
  EXPECT_THAT(chosen(5, 2), testing::ElementsAre(2, 4));
  EXPECT_THAT(chosen(5, 5), testing::ElementsAre(0, 1, 2, 3, 4));
  // FLUX.1 with 42 of 57: sd-scripts' --blocks_to_swap 28 swaps 14 double and 28 single blocks.
  const std::vector<int64_t> flux = chosen(57, 42);
  EXPECT_EQ(flux.size(), 42u);
  EXPECT_EQ(std::count_if(flux.begin(), flux.end(), [](int64_t block) { return block < 19; }), 14);
}

// Three units of a dense and a quantised layer each; the first and the last lie on the host.
class OffloadedModel : public testing::Test {
 protected:
  void make(QuantisedAs kind) {
    torch::manual_seed(3);
    std::vector<UnitSpec> units;
    std::map<std::string, torch::Tensor> values;
    for (int i = 0; i < 3; ++i) {
      dense_.push_back(std::make_shared<Linear>(8 + i, 6));
      const int64_t inputs = 256, outputs = 3 + i;
      auto weight = std::make_unique<QuantisedWeight>(inputs, outputs);
      stored_.push_back(weight.get());
      quantised_.push_back(std::make_shared<Linear>(std::move(weight), /*with_bias=*/false));
      const std::string name = std::to_string(i);
      units.push_back({name, {{name + ".weight", dense_[i]->plain_weight()}, {name + ".bias", dense_[i]->bias()}}});
      units.back().offloaded = i != 1;
      units.back().quantised = {stored_[i]};
      values[name + ".weight"] = torch::randn({6, 8 + i});
      values[name + ".bias"] = torch::randn({6});
      matrices_.push_back(quantise(torch::randn({outputs, inputs}), kind));
    }
    flat_ = std::make_unique<FlatParameters>(std::move(units), FlatParametersOptions{});
    flat_->assign(values);
    values_ = values;
    for (size_t i = 0; i < stored_.size(); ++i) stored_[i]->assign({{.quantised = matrices_[i].to(torch::kCPU)}});
  }

  // Both layers of the unit compute what their own values say.
  void expect_products(size_t i) {
    const std::string name = std::to_string(i);
    const torch::Tensor x = torch::randn({2, 8 + static_cast<int64_t>(i)}), y = torch::randn({2, 256});
    EXPECT_TRUE(
        at::allclose(dense_[i]->apply(x), at::linear(x, values_.at(name + ".weight"), values_.at(name + ".bias"))));
    torch::Tensor got = torch::empty({2, quantised_[i]->out_features()});
    quantised_[i]->forward(got, y);
    QuantisedWeight own(256, quantised_[i]->out_features());
    own.assign({{.quantised = matrices_[i]}});
    torch::Tensor expected = torch::empty_like(got);
    own.forward(expected, y);
    EXPECT_TRUE(at::equal(got, expected)) << i;
  }

  const void* codes(size_t i) const { return stored_[i]->parts()[0].quantised.codes.data_ptr(); }

  std::vector<std::shared_ptr<Linear>> dense_, quantised_;
  std::vector<QuantisedWeight*> stored_;
  std::map<std::string, torch::Tensor> values_;
  std::vector<QuantisedTensor> matrices_;
  std::unique_ptr<FlatParameters> flat_;
};

TEST_F(OffloadedModel, ComputesFromTheBuffersWhatTheHostHas) {
  for (const QuantisedAs kind : {QuantisedAs::kFp8, QuantisedAs::kInt8, QuantisedAs::kNf4}) {
    dense_.clear(), quantised_.clear(), stored_.clear(), matrices_.clear();
    make(kind);
    for (int step = 0; step < 2; ++step) {
      for (size_t i = 0; i < 3; ++i) {
        const UnitUse use = flat_->forward_unit(i, /*keep=*/true);
        expect_products(i);
      }
      for (size_t i = 3; i-- > 0;) {
        const UnitUse use = flat_->backward_unit(i);
        expect_products(i);
      }
    }
  }
}

TEST_F(OffloadedModel, MatricesMoveForTheirUseAlone) {
  make(QuantisedAs::kInt8);
  const void* resident = codes(1);
  { const UnitUse use = flat_->forward_unit(0, /*keep=*/true); }
  const void* on_host = codes(0);
  {
    const UnitUse use = flat_->forward_unit(0, /*keep=*/true);
    EXPECT_NE(codes(0), on_host);
  }
  EXPECT_EQ(codes(0), on_host);
  EXPECT_EQ(codes(1), resident);
}

TEST_F(OffloadedModel, ComputeHoldsTheOtherUnits) {
  make(QuantisedAs::kInt8);
  EXPECT_EQ(flat_->compute().numel(), flat_->units()[1].size);
  EXPECT_EQ(flat_->num_parameters(), 6 * (8 + 9 + 10) + 3 * 6);
  EXPECT_TRUE(flat_->offloaded()->has(2));
  EXPECT_FALSE(flat_->offloaded()->has(1));
}

TEST(OffloadedUnits, RefusesMoreBlocksThanThereAreAndSharedWeights) {
  const auto refusal = [](const FlatParametersOptions& options) -> std::string {
    try {
      check_offload(options, 5);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal({.offload_blocks = 5}), "");
  EXPECT_THAT(refusal({.offload_blocks = 6}), testing::StartsWith("[lora.offload_blocks] expected at most 5"));
  const auto ranks = fake(2, 0, {.shape = {.dp_shard = 2}});
  EXPECT_THAT(refusal({.mesh = &ranks->mesh(), .offload_blocks = 5}),
              testing::HasSubstr("try parallelism.data_parallel_replicate_degree=2"));
  const auto copies = fake(2, 0, {.shape = {.dp_replicate = 2}});
  EXPECT_EQ(refusal({.mesh = &copies->mesh(), .offload_blocks = 5}), "");
}

}  // namespace
}  // namespace millrace
