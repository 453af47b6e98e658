#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "models/flux/flux_test_support.h"
#include "models/flux/model.h"
#include "models/flux/weight_names.h"
#include "nn/meta_memory.h"

namespace millrace::flux {
namespace {

FluxConfig small_config(bool guidance = false) {
  FluxConfig config;
  config.in_channels = config.out_channels = 12;
  config.vec_in_dim = 10;
  config.context_in_dim = 14;
  config.hidden_size = 36;
  config.num_heads = 3;
  config.depth = 2;
  config.depth_single_blocks = 2;
  config.axes_dim = {4, 4, 4};
  config.guidance_embed = guidance;
  return config;
}

void randomize(Flux& model) {
  torch::manual_seed(5);
  std::map<std::string, torch::Tensor> weights;
  for (const ParameterSlice& slice : model.flat_parameters().slices()) {
    const bool scale = slice.name.find("_norm.scale") != std::string::npos;
    weights[slice.name] = torch::randn(slice.shape) * 0.2 + (scale ? 1.0 : 0.0);
  }
  model.flat_parameters().assign(weights);
}

TEST(Flux, SchnellAndDevHaveThePublishedParameterCounts) {
  for (const auto& [name, count] : {std::pair<const char*, int64_t>{"flux-schnell", 11891178560},
                                    {"flux-dev", 11901408320},
                                    {"flux-debug", 258286144}}) {
    Flux model(flavor(name), {.device = torch::kMeta});
    EXPECT_EQ(model.flat_parameters().num_parameters(), count) << name;
  }
}

TEST(Flux, RecomputeModesGiveTheSameGradientsBitForBit) {
  const FluxConfig config = small_config(true);
  Flux model(config, {.training = true});
  randomize(model);
  const FluxInputs inputs = random_inputs(config, 2);
  const torch::Tensor doutput = torch::randn({2, 6, config.out_channels});
  std::vector<torch::Tensor> grads;
  for (const Keep keep : {Keep::kAll, Keep::kOutputs, Keep::kInputs, Keep::kInputsOnHost}) {
    model.flat_parameters().grad().zero_();
    Flux::Saved saved;
    model.forward(inputs, &saved, keep);
    model.backward(saved, doutput);
    grads.push_back(model.flat_parameters().grad().clone());
  }
  EXPECT_GT(grads[0].norm().item<double>(), 0);
  EXPECT_TRUE(at::equal(grads[0], grads[1]));
  EXPECT_TRUE(at::equal(grads[0], grads[2]));
  EXPECT_TRUE(at::equal(grads[0], grads[3]));
  EXPECT_GT(model.offloaded_inputs()->host_bytes(model.flat_parameters().units().size() - 2), 0) << "the last block";
}

TEST(Flux, GradientsMatchFiniteDifferencesAlongEachUnit) {
  const FluxConfig config = small_config(true);
  Flux model(config, {.training = true});
  randomize(model);
  const FluxInputs inputs = random_inputs(config, 3);
  const torch::Tensor doutput = torch::randn({3, 6, config.out_channels});
  Flux::Saved saved;
  model.forward(inputs, &saved);
  model.backward(saved, doutput);
  FlatParameters& flat = model.flat_parameters();
  const auto loss = [&] {
    return (model.forward(inputs).to(torch::kFloat64) * doutput.to(torch::kFloat64)).sum().item<double>();
  };
  for (const ParameterUnit& unit : flat.units()) {
    torch::Tensor weights = flat.compute().narrow(0, unit.begin, unit.size);
    // Along the gradient itself the difference is largest against fp32's rounding.
    const torch::Tensor gradient = flat.grad().narrow(0, unit.begin, unit.size).clone();
    const torch::Tensor direction = gradient / gradient.norm(), before = weights.clone();
    const double step = 2e-3;
    weights.copy_(before + step * direction);
    const double above = loss();
    weights.copy_(before - step * direction);
    const double below = loss();
    weights.copy_(before);
    const double expected = gradient.norm().item<double>();
    EXPECT_NEAR((above - below) / (2 * step), expected, 0.01 * expected) << unit.name;
  }
}

TEST(Flux, BackwardAddsToTheGradients) {
  const FluxConfig config = small_config();
  Flux model(config, {.training = true});
  randomize(model);
  const FluxInputs inputs = random_inputs(config, 1);
  const torch::Tensor doutput = torch::randn({1, 6, config.out_channels});
  std::vector<torch::Tensor> grads;
  for (int i = 0; i < 2; ++i) {
    Flux::Saved saved;
    model.forward(inputs, &saved);
    model.backward(saved, doutput);
    grads.push_back(model.flat_parameters().grad().clone());
  }
  EXPECT_LT((grads[1] - 2 * grads[0]).norm().item<double>(), 1e-5 * grads[1].norm().item<double>());
}

TEST(Flux, AFrozenModelHasTheSameInputGradientsBitForBit) {
  const FluxConfig config = small_config(true);
  Flux trained(config, {.training = true}), frozen(config, {});
  randomize(trained);
  frozen.flat_parameters().compute().copy_(trained.flat_parameters().compute());
  const FluxInputs inputs = random_inputs(config, 2);
  const torch::Tensor doutput = torch::randn({2, 6, config.out_channels});
  for (const Keep keep : {Keep::kAll, Keep::kOutputs, Keep::kInputs}) {
    FluxInputGradients expected, got;
    for (const auto& [model, gradients] : {std::pair{&trained, &expected}, {&frozen, &got}}) {
      Flux::Saved saved;
      model->forward(inputs, &saved, keep);
      model->backward(saved, doutput, gradients);
    }
    for (const auto part :
         {&FluxInputGradients::img_BIC, &FluxInputGradients::img_ids_BIA, &FluxInputGradients::txt_BTX,
          &FluxInputGradients::txt_ids_BTA, &FluxInputGradients::timesteps_B, &FluxInputGradients::y_BV,
          &FluxInputGradients::guidance_B}) {
      EXPECT_TRUE(at::equal(got.*part, expected.*part));
      EXPECT_GT((got.*part).abs().max().item<float>(), 0);
    }
  }
  for (const auto& item : frozen.named_parameters()) EXPECT_FALSE(item.value().grad().defined()) << item.key();
  EXPECT_FALSE(frozen.flat_parameters().grad().defined());
  EXPECT_FALSE(frozen.flat_parameters().master().defined());
}

// Calls of each operation while it lives, on this thread.
class CountedOperations {
 public:
  CountedOperations()
      : handle_(at::addThreadLocalCallback(
            at::RecordFunctionCallback([](const at::RecordFunction& function) -> std::unique_ptr<at::ObserverContext> {
              ++counts()[function.name()];
              return nullptr;
            }))) {
    counts().clear();
  }
  ~CountedOperations() { at::removeCallback(handle_); }
  CountedOperations(const CountedOperations&) = delete;
  CountedOperations& operator=(const CountedOperations&) = delete;
  int operator[](const std::string& name) const { return counts()[name]; }

 private:
  static std::map<std::string, int>& counts() {
    static std::map<std::string, int> counts;
    return counts;
  }
  at::CallbackHandle handle_;
};

// On tensors without memory, where every product is ATen's: weight gradients are the only ones that add to what is
// there.
TEST(Flux, AFrozenModelComputesAndKeepsNothingForItsWeightsGradients) {
  const FluxConfig config = small_config();
  const MetaParameters on_meta;
  const auto measure = [&](bool training, int64_t* peak) {
    MetaMemory memory;
    Flux model(config, {.device = torch::kMeta, .training = training});
    FluxInputs inputs = random_inputs(config, 2);
    for (const auto part : {&FluxInputs::img_BIC, &FluxInputs::img_ids_BIA, &FluxInputs::txt_BTX,
                            &FluxInputs::txt_ids_BTA, &FluxInputs::timesteps_B, &FluxInputs::y_BV}) {
      inputs.*part = (inputs.*part).to(torch::kMeta);
    }
    Flux::Saved saved;
    const torch::Tensor out = model.forward(inputs, &saved);
    const CountedOperations operations;
    model.backward(saved, torch::empty_like(out));
    *peak = memory.peak().bytes;
    return operations["aten::addmm_"];
  };
  int64_t trained_peak = 0, frozen_peak = 0;
  EXPECT_GT(measure(true, &trained_peak), 0);
  EXPECT_EQ(measure(false, &frozen_peak), 0);
  Flux model(config, {.device = torch::kMeta});
  EXPECT_LE(frozen_peak, trained_peak - model.flat_parameters().layout().size() * 4);
}

TEST(Flux, StartsAtAPredictionOfZeroAndAlikeOnEveryRun) {
  const FluxConfig config = small_config();
  Flux first(config, {}), second(config, {}), other(config, {});
  first.initialize(7);
  second.initialize(7);
  other.initialize(8);
  EXPECT_TRUE(at::equal(first.flat_parameters().compute(), second.flat_parameters().compute()));
  EXPECT_FALSE(at::equal(first.flat_parameters().compute(), other.flat_parameters().compute()));
  EXPECT_EQ(first.forward(random_inputs(config, 2)).abs().max().item<double>(), 0);
  const auto weights = first.flat_parameters().named_views(first.flat_parameters().compute());
  const double bound = std::sqrt(6.0 / (36 + 3 * 36));
  EXPECT_LE(weights.at("double_blocks.0.img_attn.qkv.weight").abs().max().item<double>(), bound);
  EXPECT_NEAR(weights.at("double_blocks.0.img_attn.qkv.weight").std().item<double>(), bound / std::sqrt(3.0),
              0.02 * bound);
  EXPECT_NEAR(weights.at("time_in.out_layer.weight").std().item<double>(), 0.02, 0.002);
  EXPECT_EQ(weights.at("single_blocks.1.modulation.lin.weight").abs().max().item<double>(), 0);
  EXPECT_EQ(weights.at("single_blocks.1.norm.key_norm.scale").min().item<double>(), 1);
}

TEST(FluxConfig, ShapesTellTheSizesInEveryNaming) {
  FluxConfig config;
  config.in_channels = config.out_channels = 8;
  config.hidden_size = 256;
  config.num_heads = 2;
  config.depth = 1;
  config.depth_single_blocks = 3;
  config.context_in_dim = 32;
  config.guidance_embed = true;
  Flux model(config, {});
  const TensorMap ours = model.flat_parameters().named_views(model.flat_parameters().compute());
  for (const Naming naming : {Naming::kBfl, Naming::kDiffusers, Naming::kTorchtitan}) {
    const ShapeMap theirs = shapes_of(export_weights(ours, weight_rules(config, naming)));
    EXPECT_EQ(detect_naming(theirs, "test"), naming);
    EXPECT_EQ(config_from_shapes(theirs, naming, "test"), config);
  }
}

TEST(FluxConfig, JsonOfDiffusersComesBack) {
  FluxConfig config = flavor("flux-dev");
  config.depth = 3;
  EXPECT_EQ(config_from_json(to_diffusers_json(config), "test"), config);
  EXPECT_THROW(config_from_json({{"hidden_sizes", 3}}, "test"), ModelError);
  EXPECT_THROW(config_from_json({{"num_layers", "three"}}, "test"), ModelError);
  EXPECT_THROW(flavor("flux-schnel"), ConfigError);
}

}  // namespace
}  // namespace millrace::flux
