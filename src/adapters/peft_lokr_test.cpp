#include "adapters/peft_lokr.h"

#include <gtest/gtest.h>

#include "adapters/adapter_test_support.h"
#include "adapters/lokr_sizes.h"
#include "adapters/merge_adapter.h"

namespace millrace {
namespace {

AdapterTensors lokr_of(const LokrSizes& sizes) {
  AdapterTensors adapter{"layer", AdapterKind::kLokr, 0, -1, 1.5, {}};
  const auto add = [&](const std::string& name, const LokrFactor& factor) {
    if (factor.rank == 0) {
      adapter.tensors[name] = {name, torch::randn({factor.rows, factor.columns})};
      return;
    }
    adapter.tensors[name + "_a"] = {name + "_a", torch::randn({factor.rows, factor.rank})};
    adapter.tensors[name + "_b"] = {name + "_b", torch::randn({factor.rank, factor.columns})};
  };
  add("w1", sizes.w1);
  add("w2", sizes.w2);
  return adapter;
}

std::map<std::string, AdapterTensors> layers_of(std::optional<int64_t> factor, int64_t rank, bool both) {
  std::map<std::string, AdapterTensors> layers;
  layers["square"] = lokr_of(lokr_sizes(48, 48, rank, factor, both));
  layers["tall"] = lokr_of(lokr_sizes(48, 288, rank, factor, both));
  return layers;
}

TEST(PeftLokr, FindsTheSettingsOfARun) {
  for (const auto& [factor, theirs] : {std::pair{std::optional<int64_t>(), -1}, {4, 4}, {1, 1}}) {
    auto layers = layers_of(factor, 2, false);
    const std::optional<PeftLokr> fit = fit_peft_lokr(layers);
    ASSERT_TRUE(fit);
    EXPECT_EQ(fit->decompose_factor, theirs);
    EXPECT_FALSE(fit->decompose_both);
    EXPECT_EQ(fit->ranks.at("tall"), 2);
  }
  auto layers = layers_of(std::nullopt, 2, true);
  EXPECT_TRUE(fit_peft_lokr(layers)->decompose_both);
  EXPECT_TRUE(layers.at("tall").tensors.count("w1_a"));
}

TEST(PeftLokr, AWholeMatrixHasARankThatLeavesItWhole) {
  auto layers = layers_of(std::nullopt, 1000, false);
  const PeftLokr fit = fit_peft_lokr(layers).value();
  EXPECT_EQ(fit.ranks.at("square"), 4);  // 6 x 6 and 8 x 8
  EXPECT_EQ(fit.ranks.at("tall"), 9);    // 16 x 6 and 18 x 8
}

TEST(PeftLokr, ThinMatricesThatPeftMakesWholeAreMultipliedOut) {
  torch::manual_seed(2);
  std::map<std::string, AdapterTensors> layers;
  layers["layer"] = lokr_of({{6, 6, 2}, {8, 8, 3}});  // of two ranks
  const torch::Tensor change = weight_change(layers.at("layer"));
  EXPECT_EQ(fit_peft_lokr(layers)->ranks.at("layer"), 3);
  EXPECT_TRUE(layers.at("layer").tensors.count("w1"));
  layers["layer"] = lokr_of({{6, 6, 0}, {8, 8, 5}});
  EXPECT_EQ(fit_peft_lokr(layers)->ranks.at("layer"), 4);
  EXPECT_TRUE(layers.at("layer").tensors.count("w2"));
  layers["layer"] = lokr_of({{6, 6, 2}, {8, 8, 2}});
  const torch::Tensor both = weight_change(layers.at("layer"));
  layers["other"] = lokr_of({{6, 6, 0}, {8, 8, 2}});  // decompose_both cannot be true of this one
  EXPECT_FALSE(fit_peft_lokr(layers)->decompose_both);
  EXPECT_LT(relative_error(weight_change(layers.at("layer")), both), 1e-6);
}

TEST(PeftLokr, SizesOfNoFactorAreToldApart) {
  std::map<std::string, AdapterTensors> layers;
  layers["a"] = lokr_of({{6, 6, 0}, {8, 8, 0}});
  layers["b"] = lokr_of({{4, 4, 0}, {12, 12, 0}});
  EXPECT_FALSE(fit_peft_lokr(layers));
}

}  // namespace
}  // namespace millrace
