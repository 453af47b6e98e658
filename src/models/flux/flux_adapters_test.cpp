// A frozen FLUX with LoRA on its layers: what is trained is a set of small tensors apart from the model.
#include <gtest/gtest.h>

#include "adapters/lora.h"
#include "models/flux/flux_test_support.h"
#include "models/flux/model.h"

namespace millrace::flux {
namespace {

FluxConfig adapted_config() {
  FluxConfig config;
  config.in_channels = config.out_channels = 12;
  config.vec_in_dim = 10;
  config.context_in_dim = 14;
  config.hidden_size = 36;
  config.num_heads = 3;
  config.depth = 1;
  config.depth_single_blocks = 2;
  config.axes_dim = {4, 4, 4};
  return config;
}

constexpr int64_t kRank = 2;
constexpr double kScale = 0.5;

class AdaptedFlux : public testing::Test {
 protected:
  // LoRA on every linear layer whose name has one of the parts in it; none: on all.
  void adapt(const std::vector<std::string>& parts = {}) {
    torch::manual_seed(5);
    std::map<std::string, torch::Tensor> weights;
    for (const ParameterSlice& slice : base_.flat_parameters().slices()) {
      const bool scale = slice.name.find("_norm.scale") != std::string::npos;
      weights[slice.name] = torch::randn(slice.shape) * 0.2 + (scale ? 1.0 : 0.0);
    }
    base_.flat_parameters().assign(weights);

    UnitSpec unit{"adapters", {}};
    for (const auto& item : base_.named_modules("", /*include_self=*/false)) {
      const auto layer = std::dynamic_pointer_cast<Linear>(item.value());
      const auto is_named = [&](const std::string& part) { return item.key().find(part) != std::string::npos; };
      if (!layer || (!parts.empty() && std::none_of(parts.begin(), parts.end(), is_named))) continue;
      const auto lora = std::make_shared<Lora>(layer->in_features(), layer->out_features(), kRank, kScale);
      layer->set_adapter(lora);
      for (const auto& own : lora->named_parameters()) {
        unit.parameters.emplace_back(item.key() + "." + own.key(), own.value());
      }
      adapters_[item.key()] = lora;
    }
    trained_ = std::make_unique<FlatParameters>(std::vector<UnitSpec>{unit}, FlatParametersOptions{.training = true});
    trained_->compute().normal_(0, 0.2);
  }

  torch::Tensor backward(Keep keep, FluxInputGradients* input_gradients = nullptr) {
    trained_->grad().zero_();
    Flux::Saved saved;
    base_.forward(inputs_, &saved, keep);
    base_.backward(saved, doutput_, input_gradients);
    return trained_->grad().clone();
  }
  double loss() {
    return (base_.forward(inputs_).to(torch::kFloat64) * doutput_.to(torch::kFloat64)).sum().item<double>();
  }

  FluxConfig config_ = adapted_config();
  Flux base_{config_, {}};
  FluxInputs inputs_ = random_inputs(config_, 2);
  torch::Tensor doutput_ = torch::randn({2, 6, config_.out_channels});
  std::map<std::string, std::shared_ptr<Lora>> adapters_;
  std::unique_ptr<FlatParameters> trained_;
};

TEST_F(AdaptedFlux, ComputesWhatMergedWeightsDo) {
  adapt();
  EXPECT_EQ(adapters_.size(), 24u);
  const torch::Tensor got = base_.forward(inputs_);
  const torch::NoGradGuard no_grad;
  auto weights = base_.flat_parameters().named_views(base_.flat_parameters().compute());
  for (const auto& [name, lora] : adapters_) {
    weights.at(name + ".weight").add_(at::matmul(lora->up_NR, lora->down_RK), kScale);
  }
  for (const auto& item : base_.named_modules("", /*include_self=*/false)) {
    if (const auto layer = std::dynamic_pointer_cast<Linear>(item.value())) layer->set_adapter(nullptr);
  }
  EXPECT_TRUE(torch::allclose(got, base_.forward(inputs_), 1e-4, 1e-5));
}

TEST_F(AdaptedFlux, GradientsMatchFiniteDifferencesAlongEachAdapter) {
  adapt();
  const torch::Tensor gradients = backward(Keep::kOutputs);
  for (const ParameterSlice& slice : trained_->slices()) {
    torch::Tensor weights = trained_->compute().narrow(0, slice.begin, slice.size);
    const torch::Tensor gradient = gradients.narrow(0, slice.begin, slice.size), before = weights.clone();
    const double expected = gradient.norm().item<double>(), step = 2e-3;
    ASSERT_GT(expected, 0) << slice.name;
    weights.copy_(before + gradient * (step / expected));
    const double above = loss();
    weights.copy_(before - gradient * (step / expected));
    const double below = loss();
    weights.copy_(before);
    EXPECT_NEAR((above - below) / (2 * step), expected, 0.02 * expected) << slice.name;
  }
}

TEST_F(AdaptedFlux, RecomputeModesGiveTheSameGradientsBitForBit) {
  adapt();
  const torch::Tensor all = backward(Keep::kAll);
  EXPECT_TRUE(at::equal(backward(Keep::kOutputs), all));
  EXPECT_TRUE(at::equal(backward(Keep::kInputs), all));
  EXPECT_TRUE(at::equal(backward(Keep::kInputsOnHost), all));
}

// Without a reason to, the backward pass does not reach the embedders; with one, the adapters' gradients are the same.
TEST_F(AdaptedFlux, ThePassStopsWhereNothingBelowIsTrained) {
  adapt({"img_attn", "linear1", "modulation"});
  const torch::Tensor alone = backward(Keep::kOutputs);
  FluxInputGradients input_gradients;
  EXPECT_TRUE(at::equal(backward(Keep::kOutputs, &input_gradients), alone));
  EXPECT_GT(input_gradients.y_BV.abs().max().item<float>(), 0);
  EXPECT_FALSE(base_.flat_parameters().grad().defined());
}

}  // namespace
}  // namespace millrace::flux
