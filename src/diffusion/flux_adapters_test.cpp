// LoRA on a frozen FLUX as a task trains it: which layers, how they start, and on several ranks.
#include "diffusion/flux_adapters.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/communicator.h"
#include "nn/unplaced.h"

namespace millrace {
namespace {

flux::FluxConfig small_sizes() {
  flux::FluxConfig sizes;
  sizes.in_channels = sizes.out_channels = 12;
  sizes.vec_in_dim = 10;
  sizes.context_in_dim = 14;
  sizes.hidden_size = 36;
  sizes.num_heads = 3;
  sizes.depth = 1;
  sizes.depth_single_blocks = 2;
  sizes.axes_dim = {4, 4, 4};
  return sizes;
}

std::vector<std::string> layers(const std::vector<std::string>& targets, const flux::FluxConfig& sizes) {
  const MetaParameters on_meta;
  FlatParametersOptions placement;
  placement.device = torch::kMeta;
  const flux::Flux model(sizes, placement);
  return adapted_layers(model, targets);
}

TEST(FluxAdapters, AllAreThe304LayersOfTheBlocks) {
  const flux::FluxConfig dev = flux::flavor("flux-dev");
  EXPECT_EQ(layers({"all"}, dev).size(), 304u);
  EXPECT_EQ(layers({"attention"}, dev).size(), 19u * 4 + 38u * 2);
  EXPECT_EQ(layers({"double_blocks.*.img_mlp.*"}, dev).size(), 38u);
  EXPECT_EQ(layers({"attention", "img_in"}, dev).size(), 19u * 4 + 38u * 2 + 1);
}

TEST(FluxAdapters, AModelWithoutOneKindOfBlocksHasTheOther) {
  flux::FluxConfig sizes = small_sizes();
  sizes.depth = 0;
  EXPECT_EQ(layers({"all"}, sizes).size(), 6u);
  EXPECT_THROW(layers({"double_blocks.0.img_attn.qkv"}, sizes), ConfigError);
}

TEST(FluxAdapters, ItStartsAsTheFrozenModelAndItsStrengthCanBeSet) {
  FlatParametersOptions placement;
  placement.training = true;
  FluxAdapters adapters({.rank = 4, .alpha = 8, .targets = {"all"}}, small_sizes(), placement);
  adapters.model().flat_parameters().compute().normal_(0, 0.1);
  adapters.initialize(1);
  EXPECT_FALSE(adapters.model().flat_parameters().grad().defined());
  EXPECT_TRUE(adapters.parameters().grad().defined());

  flux::FluxInputs inputs;
  inputs.img_BIC = torch::randn({1, 4, 12});
  inputs.img_ids_BIA = torch::zeros({1, 4, 3});
  inputs.txt_BTX = torch::randn({1, 3, 14});
  inputs.txt_ids_BTA = torch::zeros({1, 3, 3});
  inputs.timesteps_B = torch::rand({1});
  inputs.y_BV = torch::randn({1, 10});
  const torch::Tensor start = adapters.forward(inputs);
  adapters.set_strength(0);
  EXPECT_TRUE(at::equal(start, adapters.forward(inputs)));

  adapters.parameters().compute().normal_(0, 0.1);
  EXPECT_TRUE(at::equal(start, adapters.forward(inputs))) << "of strength 0 they add nothing";
  adapters.set_strength(1);
  EXPECT_FALSE(at::allclose(start, adapters.forward(inputs), 1e-3, 1e-3));
}

TEST(FluxAdapters, TensorParallelismIsRefused) {
  const std::shared_ptr<Communicator> ranks = fake(2, 0, {.shape = {1, 1, 2}});
  FlatParametersOptions placement;
  placement.training = true;
  placement.mesh = &ranks->mesh();
  flux::FluxConfig sizes = small_sizes();
  sizes.num_heads = 2;
  sizes.axes_dim = {6, 6, 6};
  EXPECT_THROW(FluxAdapters({}, sizes, placement), ConfigError);
}

}  // namespace
}  // namespace millrace
