#include "models/quantised_load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "kernels/quantised/quantise_tensor.h"
#include "models/flux/model.h"
#include "models/model_table.h"
#include "nn/counting_allocator_test_support.h"
#include "nn/quantised_io.h"
#include "nn/quantised_weight.h"

namespace millrace {
namespace {

using torch::Tensor;

flux::FluxConfig config() {
  flux::FluxConfig config;
  config.in_channels = config.out_channels = 16;
  config.vec_in_dim = 32;
  config.context_in_dim = 64;
  config.hidden_size = 256;
  config.num_heads = 2;
  config.depth = 1;
  config.depth_single_blocks = 2;
  return config;
}

class QuantisedLoad : public testing::Test {
 protected:
  QuantisedLoad() {
    torch::manual_seed(8);
    flux::Flux model(config(), {});
    for (const auto& [name, tensor] : parameters_of(model)) weights_[name] = torch::randn(tensor.sizes()) * 0.05;
    save_weights(path_, weights_);
  }
  ~QuantisedLoad() override { std::filesystem::remove(path_); }

  std::shared_ptr<torch::nn::Module> load(BaseStorage storage) const {
    return ModelWeights(find_model("flux"), path_).load({.base_storage = storage});
  }

  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("millrace-quantised-" + std::to_string(::getpid()) + ".safetensors");
  TensorMap weights_;
};

TEST_F(QuantisedLoad, PlansKnowTheMemoryOfEveryStorage) {
  for (const BaseStorage storage : {BaseStorage::kFp8, BaseStorage::kFp8Unscaled, BaseStorage::kInt8, BaseStorage::kNf4,
                                    BaseStorage::kNf4Torchao}) {
    const auto model = load(storage);
    for (const auto& [name, weight] : quantised_weights(*model)) {
      EXPECT_EQ(weight->bytes(), stored_bytes(storage, weight->out_features(), weight->in_features()))
          << base_storage_name(storage) << ", " << name;
    }
  }
}

TEST_F(QuantisedLoad, ValuesMayChangeOnTheWay) {
  flux::Flux model(config(), {.base_storage = BaseStorage::kInt8});
  const std::string name = "single_blocks.1.linear2.weight";
  ModelWeights(find_model("flux"), path_)
      .load_into(model, {.base_storage = BaseStorage::kInt8},
                 {.concerns = [&](const std::string& each) { return each == name; },
                  .change = [](const std::string&, const Tensor& tensor) { return tensor * 2; }});
  const QuantisedTensor expected = quantise(weights_.at(name) * 2, QuantisedAs::kInt8);
  const QuantisedTensor& got = quantised_weights(model).at("single_blocks.1.linear2")->parts()[0].quantised;
  EXPECT_TRUE(at::equal(got.row_scales, expected.row_scales));
}

TEST_F(QuantisedLoad, MatricesOfBlocksAreStoredAndTheRestIsAsItWas) {
  const auto model = load(BaseStorage::kNf4);
  const std::map<std::string, QuantisedWeight*> stored = quantised_weights(*model);
  for (const auto& [name, weight] : stored) {
    const QuantisedTensor expected = quantise(weights_.at(name + ".weight"), QuantisedAs::kNf4);
    ASSERT_EQ(weight->parts().size(), 1u);
    EXPECT_TRUE(at::equal(weight->parts()[0].quantised.codes, expected.codes)) << name;
  }
  EXPECT_EQ(stored.size(), 2u * 5 + 2 * 3) << "qkv, proj, MLP and modulation of two streams; three of a single block";
  const TensorMap dense = parameters_of(*model);
  EXPECT_EQ(dense.size() + stored.size(), weights_.size());
  for (const auto& [name, tensor] : dense) EXPECT_TRUE(at::equal(tensor, weights_.at(name))) << name;
}

TEST_F(QuantisedLoad, UnscaledFp8RoundsEveryParameter) {
  const auto model = load(BaseStorage::kFp8Unscaled);
  const auto rounded = [](const Tensor& x) { return x.to(torch::kFloat8_e4m3fn).to(torch::kFloat32); };
  for (const auto& [name, tensor] : parameters_of(*model)) {
    EXPECT_TRUE(at::equal(tensor, rounded(weights_.at(name)))) << name;
  }
  for (const auto& [name, weight] : quantised_weights(*model)) {
    Tensor values = torch::empty({weight->out_features(), weight->in_features()});
    weight->unpack(0, 0, values);
    EXPECT_TRUE(at::equal(values, rounded(weights_.at(name + ".weight")))) << name;
  }
}

TEST_F(QuantisedLoad, MemoryHoldsTheModelAsStoredAndOneTensor) {
  int64_t largest = 0;
  for (const auto& [name, tensor] : weights_) largest = std::max<int64_t>(largest, tensor.numel() * 4);
  const ModelWeights weights(find_model("flux"), path_);
  for (const BaseStorage storage : {BaseStorage::kFp8, BaseStorage::kInt8, BaseStorage::kNf4}) {
    CountingAllocator allocator;
    allocator.begin();
    {
      const auto model = weights.load({.base_storage = storage});
      int64_t stored = 0;
      for (const auto& [name, weight] : quantised_weights(*model)) stored += weight->bytes();
      for (const auto& [name, tensor] : parameters_of(*model)) stored += tensor.numel() * 4;
      EXPECT_GE(allocator.peak(), static_cast<size_t>(stored));
      EXPECT_LE(allocator.peak(), static_cast<size_t>(stored + largest + largest / 4));
    }
  }
}

TEST_F(QuantisedLoad, WhatCannotBeStoredSoIsRefused) {
  EXPECT_THROW(load(BaseStorage::kGguf), ConfigError) << "a file without blocks";
  weights_["double_blocks.0.img_mlp.0.weight"][3][4] = NAN;
  save_weights(path_, weights_);
  try {
    load(BaseStorage::kInt8);
    ADD_FAILURE() << "expected an exception, got none";
  } catch (const ModelError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("double_blocks.0.img_mlp.0.weight"));
  }
}

TEST_F(QuantisedLoad, BackwardGivesTheGradientsOfTheRoundedModel) {
  const auto stored = std::dynamic_pointer_cast<flux::Flux>(load(BaseStorage::kInt8));
  flux::Flux dense(config(), {});
  TensorMap values = parameters_of(*stored);
  for (const auto& [name, weight] : quantised_weights(*stored)) {
    Tensor whole = torch::empty({weight->out_features(), weight->in_features()});
    weight->unpack(0, 0, whole);
    values[name + ".weight"] = whole;
  }
  dense.flat_parameters().assign(values);
  flux::FluxInputs inputs;
  inputs.img_BIC = torch::randn({2, 6, 16});
  inputs.img_ids_BIA = torch::randint(0, 5, {2, 6, 3}).to(torch::kFloat32);
  inputs.txt_BTX = torch::randn({2, 5, 64});
  inputs.txt_ids_BTA = torch::zeros({2, 5, 3});
  inputs.timesteps_B = torch::rand({2});
  inputs.y_BV = torch::randn({2, 32});
  const Tensor doutput = torch::randn({2, 6, 16});
  const auto run = [&](flux::Flux& model) {
    flux::Flux::Saved saved;
    flux::FluxInputGradients gradients;
    const Tensor output = model.forward(inputs, &saved);
    model.backward(saved, doutput, &gradients);
    return std::pair(output, gradients);
  };
  const auto [got, got_gradients] = run(*stored);
  const auto [expected, expected_gradients] = run(dense);
  const auto error = [](const Tensor& x, const Tensor& y) { return ((x - y).norm() / y.norm()).item<double>(); };
  EXPECT_LT(error(got, expected), 1e-5);
  EXPECT_LT(error(got_gradients.img_BIC, expected_gradients.img_BIC), 1e-5);
  EXPECT_LT(error(got_gradients.txt_BTX, expected_gradients.txt_BTX), 1e-5);
  EXPECT_LT(error(got_gradients.y_BV, expected_gradients.y_BV), 1e-5);
}

}  // namespace
}  // namespace millrace
