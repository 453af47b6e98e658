// LoRA on a frozen FLUX as a task trains it: which layers, how they start, and on several ranks.
#include "diffusion/flux_adapters.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/communicator.h"
#include "diffusion/flux_objective.h"
#include "models/clip/model.h"
#include "models/t5/model.h"
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

torch::Tensor pooled_or_tokens(const clip::ClipOutput& output) {
  return output.pooled_BD;
}
torch::Tensor pooled_or_tokens(const torch::Tensor& output_BLD) {
  return output_BLD;
}

// An encoder of random weights, which takes a caption's letters as its tokens.
template <typename Model, typename Config>
class LetterEncoder : public TrainableEncoder {
 public:
  explicit LetterEncoder(const Config& config) : model_(config, torch::TensorOptions(torch::kFloat32)) {
    for (auto& item : model_.named_parameters()) {
      if (item.value().dim() > 1) item.value().normal_(0, 0.3);
      if (item.value().dim() == 1) item.value().fill_(item.key().ends_with("weight") ? 1 : 0.1);
    }
  }
  FlatModel& model() override { return model_; }
  torch::Tensor forward(const std::vector<std::string>& captions) override {
    std::vector<int64_t> ids;
    for (const std::string& caption : captions) ids.insert(ids.end(), caption.begin(), caption.end());
    return pooled_or_tokens(
        model_.forward(torch::tensor(ids).view({static_cast<int64_t>(captions.size()), -1}), &saved_));
  }
  void backward(const torch::Tensor& dencoding) override { model_.backward(saved_, dencoding); }
  void set_trained(EncoderAdapters adapters) override { use_adapters_ = std::move(adapters.use); }

 private:
  Model model_;
  typename Model::Saved saved_;
  std::function<UnitUse()> use_adapters_;
};

// Central differences of the loss along random directions, one within each model's adapters.
TEST(FluxAdapters, GradientsReachBothTextEncoders) {
  torch::manual_seed(0);
  clip::ClipConfig clip_sizes{.vocab_size = 128, .hidden_size = 10, .intermediate_size = 14, .num_hidden_layers = 2};
  clip_sizes.num_attention_heads = 2;
  t5::T5Config t5_sizes{.vocab_size = 128, .d_model = 14, .d_kv = 4, .d_ff = 18, .num_layers = 2, .num_heads = 2};
  LetterEncoder<clip::Clip, clip::ClipConfig> clip(clip_sizes);
  LetterEncoder<t5::T5Encoder, t5::T5Config> t5(t5_sizes);
  FlatParametersOptions placement;
  placement.training = true;
  FluxAdapters adapters({.rank = 3, .dropout = 0.2}, small_sizes(), placement, {},
                        {{"clip_l.", &clip, /*is_pooled=*/true}, {"t5xxl.", &t5, /*is_pooled=*/false}});
  adapters.model().flat_parameters().compute().normal_(0, 0.2);
  adapters.initialize(1);
  const torch::Tensor& values = adapters.parameters().compute();
  values.normal_(0, 0.2);

  FluxBatch batch;
  batch.latent_BZhw = torch::randn({2, 3, 4, 4});
  batch.captions = {"a red cat", "two trees"};
  batch.num_samples = batch.global_rows = 2;
  batch.sample_ids = {3, 4};
  batch.epochs = {0, 0};
  const FluxObjective objective = {5, 2, {}};
  const FluxDraws draws = draw_for(batch, objective);
  const auto loss = [&] { return train_on_batch(adapters, batch, draws, objective, Keep::kOutputs, 1).item<double>(); };
  loss();
  const torch::Tensor gradient = adapters.parameters().grad().clone();
  const torch::Tensor start = values.clone();
  for (const std::string prefix : {"clip_l.", "t5xxl.", "double_blocks.", "single_blocks."}) {
    torch::Tensor direction = torch::zeros_like(start);
    for (const ParameterSlice& slice : adapters.parameters().slices()) {
      if (slice.name.starts_with(prefix)) FlatParameters::view(direction, slice).normal_();
    }
    constexpr double kStep = 2e-3;
    values.copy_(start + kStep * direction);
    const double above = loss();
    values.copy_(start - kStep * direction);
    const double below = loss();
    values.copy_(start);
    const double expected = (above - below) / (2 * kStep), got = gradient.dot(direction).item<double>();
    // Losses near 30 are known to 1e-6 of themselves; the third derivative adds as much as the step squared.
    EXPECT_NEAR(got, expected, 3e-2 * std::abs(expected) + 2e-2) << prefix;
    EXPECT_GT(std::abs(expected), 0.1) << prefix;
  }
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
