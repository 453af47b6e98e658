// A frozen FLUX with blocks in host memory computes the same bits as one without.
#include <gtest/gtest.h>

#include "adapters/lora.h"
#include "base/error.h"
#include "kernels/quantised/quantise_tensor.h"
#include "models/flux/flux_test_support.h"
#include "models/flux/model.h"
#include "nn/quantised_weight.h"

namespace millrace::flux {
namespace {

FluxConfig offload_config() {
  FluxConfig config;
  config.in_channels = config.out_channels = 12;
  config.vec_in_dim = 10;
  config.context_in_dim = 14;
  config.hidden_size = 48;
  config.num_heads = 3;
  config.depth = 2;
  config.depth_single_blocks = 3;
  config.axes_dim = {4, 6, 6};
  return config;
}

// The model's values and adapters depend on names alone.
struct OffloadedFlux {
  OffloadedFlux(BaseStorage storage, int64_t blocks)
      : model(offload_config(), {.base_storage = storage, .offload_blocks = blocks}) {
    const auto values_of = [](const std::string& name, c10::IntArrayRef shape) {
      torch::manual_seed(std::hash<std::string>()(name));
      return torch::randn(shape) * 0.1;
    };
    std::map<std::string, torch::Tensor> values;
    for (const ParameterSlice& slice : model.flat_parameters().slices()) {
      values[slice.name] = values_of(slice.name, slice.shape);
    }
    model.flat_parameters().assign(values);
    for (const auto& [name, weight] : quantised_weights(model)) {
      weight->assign({{.quantised = quantise(values_of(name, {weight->out_features(), weight->in_features()}),
                                             storage == BaseStorage::kNf4 ? QuantisedAs::kNf4 : QuantisedAs::kInt8)}});
    }
    UnitSpec unit{"adapters", {}};
    std::map<std::string, torch::Tensor> adapter_values;
    for (const auto& item : model.named_modules("", /*include_self=*/false)) {
      const auto layer = std::dynamic_pointer_cast<Linear>(item.value());
      if (!layer || item.key().find("_blocks.") == std::string::npos) continue;
      const auto lora = std::make_shared<Lora>(layer->in_features(), layer->out_features(), 2, 0.5);
      layer->set_adapter(lora);
      for (const auto& own : lora->named_parameters()) {
        const std::string name = item.key() + "." + own.key();
        unit.parameters.emplace_back(name, own.value());
        adapter_values[name] = values_of(name, own.value().sizes());
      }
    }
    adapters = std::make_unique<FlatParameters>(std::vector<UnitSpec>{unit}, FlatParametersOptions{.training = true});
    adapters->assign(adapter_values);
  }

  // Output and gradients of two steps.
  std::vector<torch::Tensor> steps(Keep keep) {
    torch::manual_seed(7);
    std::vector<torch::Tensor> results;
    for (int i = 0; i < 2; ++i) {
      Flux::Saved saved;
      results.push_back(model.forward(random_inputs(model.config(), 2), &saved, keep));
      model.backward(saved, torch::randn_like(results.back()));
      results.push_back(adapters->grad().clone());
    }
    return results;
  }

  Flux model;
  std::unique_ptr<FlatParameters> adapters;
};

TEST(FluxOffload, ChangesNoBit) {
  for (const BaseStorage storage : {BaseStorage::kDense, BaseStorage::kNf4}) {
    for (const Keep keep : {Keep::kAll, Keep::kOutputs, Keep::kInputs, Keep::kInputsOnHost}) {
      const std::vector<torch::Tensor> expected = OffloadedFlux(storage, 0).steps(keep);
      for (const int64_t blocks : {2, 5}) {
        const std::vector<torch::Tensor> got = OffloadedFlux(storage, blocks).steps(keep);
        for (size_t i = 0; i < got.size(); ++i) {
          EXPECT_TRUE(at::equal(got[i], expected[i]))
              << base_storage_name(storage) << ", " << blocks << " blocks, result " << i;
        }
      }
    }
  }
}

TEST(FluxOffload, LeavesTheOtherBlocksAndTheEndsOfTheModelOnTheDevice) {
  Flux whole(offload_config(), {}), some(offload_config(), {.offload_blocks = 3}),
      none(offload_config(), {.offload_blocks = 5});
  const auto names = [](const Flux& model) {
    std::vector<std::string> offloaded;
    const FlatParameters& flat = model.flat_parameters();
    for (size_t unit = 0; unit < flat.units().size(); ++unit) {
      if (flat.offloaded()->has(unit)) offloaded.push_back(flat.units()[unit].name);
    }
    return offloaded;
  };
  const auto has = [](const std::vector<std::string>& all, const std::string& name) {
    return std::find(all.begin(), all.end(), name) != all.end();
  };
  EXPECT_EQ(whole.flat_parameters().offloaded(), nullptr);
  const std::vector<std::string> three = names(some), all = names(none);
  EXPECT_TRUE(has(three, "double_blocks.1") && has(three, "single_blocks.1") && has(three, "single_blocks.2"));
  EXPECT_FALSE(has(three, "double_blocks.0") || has(three, "single_blocks.0"));
  EXPECT_FALSE(has(all, "embedders") || has(all, "final_layer"));
  EXPECT_TRUE(has(all, "modulation.0")) << "modulations travel in parts no larger than a block";
  EXPECT_EQ(all.size() + 2, none.flat_parameters().units().size());
}

TEST(FluxOffload, RefusesMoreBlocksThanTheModelHas) {
  EXPECT_THROW(Flux(offload_config(), {.offload_blocks = 6}), ConfigError);
}

}  // namespace
}  // namespace millrace::flux
