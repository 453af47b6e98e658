// What a training pass leaves out belongs to the sample and the layer.
#include "adapters/adapter_dropout.h"

#include <gtest/gtest.h>

#include <cmath>

#include "adapters/adapter_test_support.h"

namespace millrace {
namespace {

constexpr int64_t kTokens = 5;

// A LoRA with values, and what it adds to zeros for samples of kTokens equal rows.
class Adapted {
 public:
  explicit Adapted(const LoraConfig& config) : config_(config), lora_(kIn, kOut, kRank, 1) {
    torch::manual_seed(4);
    lora_.down_RK.set_data(torch::randn({kRank, kIn}));
    lora_.up_NR.set_data(torch::randn({kOut, kRank}));
    x_K_ = torch::randn({kIn});
  }

  torch::Tensor added(const std::string& layer, std::vector<uint64_t> ids, uint64_t seed = 1, uint32_t epoch = 0) {
    const std::vector<uint32_t> epochs(ids.size(), epoch);
    const std::vector<AdaptedLayer> layers = {{layer, &lora_}};
    set_dropout(layers, config_, {seed, epochs, ids});
    const auto rows = static_cast<int64_t>(ids.size()) * kTokens;
    torch::Tensor out = torch::zeros({rows, kOut});
    LinearPass pass;
    lora_.complete_forward(out, x_K_.expand({rows, kIn}).contiguous(), pass);
    clear_dropout(layers);
    return out.view({-1, kTokens, kOut});
  }
  torch::Tensor whole() {
    torch::Tensor out = torch::zeros({1, kOut});
    LinearPass pass;
    lora_.complete_forward(out, x_K_.view({1, kIn}), pass);
    return out[0];
  }

 private:
  LoraConfig config_;
  Lora lora_;
  torch::Tensor x_K_;
};

TEST(AdapterDropout, BelongsToTheSampleWhateverItsBatch) {
  for (const LoraConfig& config :
       {LoraConfig{.dropout = 0.5}, LoraConfig{.rank_dropout = 0.5}, LoraConfig{.module_dropout = 0.5},
        LoraConfig{.dropout = 0.2, .rank_dropout = 0.3, .module_dropout = 0.4}}) {
    Adapted adapted(config);
    std::vector<uint64_t> ids(40);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = 100 + i;
    const torch::Tensor together = adapted.added("a", ids);
    EXPECT_TRUE(at::equal(together, adapted.added("a", ids)));
    for (const int64_t i : {0, 7, 39}) {
      EXPECT_TRUE(at::allclose(adapted.added("a", {ids[static_cast<size_t>(i)]})[0], together[i], 1e-5, 1e-6));
    }
    EXPECT_FALSE(at::allclose(together, adapted.added("b", ids))) << "layers differ";
    EXPECT_FALSE(at::allclose(together, adapted.added("a", ids, 2))) << "seeds differ";
    EXPECT_FALSE(at::allclose(together, adapted.added("a", ids, 1, 1))) << "epochs differ";
  }
}

TEST(AdapterDropout, RanksAndAdaptersAreOutForAllTokensAndNumbersForOne) {
  std::vector<uint64_t> ids(400);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = i;
  Adapted modules({.module_dropout = 0.25});
  const torch::Tensor out = modules.added("a", ids), whole = modules.whole();
  int64_t left_out = 0;
  for (int64_t i = 0; i < out.size(0); ++i) {
    const bool is_out = out[i].count_nonzero().item<int64_t>() == 0;
    left_out += is_out ? 1 : 0;
    if (is_out) continue;
    EXPECT_TRUE(at::allclose(out[i], whole.expand({kTokens, kOut}), 1e-5, 1e-6)) << "without a factor";
  }
  EXPECT_NEAR(static_cast<double>(left_out), 100, 3 * std::sqrt(400 * 0.25 * 0.75));

  Adapted ranks({.rank_dropout = 0.25});
  const torch::Tensor by_rank = ranks.added("a", ids);
  EXPECT_TRUE(at::allclose(by_rank, by_rank.narrow(1, 0, 1).expand_as(by_rank), 1e-5, 1e-6));
  Adapted numbers({.dropout = 0.25});
  const torch::Tensor by_number = numbers.added("a", ids);
  EXPECT_FALSE(at::allclose(by_number, by_number.narrow(1, 0, 1).expand_as(by_number)));
  // Divided by 1 - p, the mean stays: of 400 draws to within three standard deviations of its estimate.
  for (const torch::Tensor& each : {by_rank.select(1, 0), by_number.flatten(0, 1)}) {
    const torch::Tensor error = (each.mean(0) - whole).abs();
    const torch::Tensor deviation = each.std(0) / std::sqrt(static_cast<double>(each.size(0)));
    EXPECT_LT((error / deviation).max().item<double>(), 4);
  }
}

}  // namespace
}  // namespace millrace
