#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/autoencoder/model.h"
#include "models/autoencoder/weight_names.h"
#include "nn/plain_layers.h"

namespace millrace::autoencoder {
namespace {

AutoencoderConfig small() {
  AutoencoderConfig config;
  config.block_out_channels = {4, 4, 8};
  config.norm_num_groups = 2;
  config.latent_channels = 3;
  config.layers_per_block = 1;
  return config;
}

TEST(Autoencoder, ShapesOfBothDirections) {
  Autoencoder model(small(), torch::kFloat32);
  init_normal(model, 0.1, 1);
  const torch::NoGradGuard no_grad;
  const Moments moments = model.encode(torch::zeros({2, 3, 12, 20}));
  EXPECT_EQ(moments.mean_BZhw.sizes(), (std::vector<int64_t>{2, 3, 3, 5}));
  EXPECT_EQ(moments.logvar_BZhw.sizes(), moments.mean_BZhw.sizes());
  EXPECT_EQ(model.decode(moments.mean_BZhw).sizes(), (std::vector<int64_t>{2, 3, 12, 20}));
}

TEST(Autoencoder, APicturesResultDoesNotDependOnItsBatch) {
  AutoencoderConfig config = small();
  config.block_out_channels = {16, 16, 32};
  Autoencoder model(config, torch::kFloat32);
  init_normal(model, 0.1, 1);
  const torch::NoGradGuard no_grad;
  for (const int64_t side : {12, 44}) {
    const torch::Tensor images = torch::rand({3, 3, side, side}) * 2 - 1;
    const Moments together = model.encode(images), alone = model.encode(images.narrow(0, 1, 1));
    EXPECT_TRUE(torch::equal(together.mean_BZhw[1], alone.mean_BZhw[0])) << side;
    EXPECT_TRUE(torch::equal(together.logvar_BZhw[1], alone.logvar_BZhw[0])) << side;
    const torch::Tensor decoded = model.decode(together.mean_BZhw);
    EXPECT_TRUE(torch::equal(decoded[1], model.decode(alone.mean_BZhw)[0])) << side;
  }
}

TEST(Autoencoder, WinogradAndDirectConvolutionsAgree) {
  AutoencoderConfig config = small();
  config.block_out_channels = {16, 16, 32};
  Autoencoder model(config, torch::kFloat32);
  init_normal(model, 0.1, 1);
  const torch::Tensor image = torch::rand({1, 3, 60, 44}) * 2 - 1;
  const torch::Tensor direct = model.encode(image).mean_BZhw.detach();  // with a graph: ATen's convolutions
  const torch::NoGradGuard no_grad;
  const auto distance = [&] {
    return ((model.encode(image).mean_BZhw - direct).norm() / direct.norm()).item<double>();
  };
  EXPECT_LT(distance(), 1e-5);
  // Filters are recomputed when the weights change.
  for (torch::Tensor& parameter : model.parameters()) parameter.mul_(0.5);
  EXPECT_GT(distance(), 1e-2);
}

TEST(Autoencoder, PicturesThatDoNotDivideAreRefused) {
  Autoencoder model(small(), torch::kFloat32);
  EXPECT_THROW(model.encode(torch::zeros({1, 3, 12, 18})), ModelError);
  EXPECT_THROW(model.encode(torch::zeros({1, 4, 12, 20})), ModelError);
  EXPECT_THROW(model.encode(torch::zeros({3, 12, 20})), ModelError);
  EXPECT_THROW(model.decode(torch::zeros({1, 4, 3, 5})), ModelError);
}

TEST(Autoencoder, PublishedSizeHas83819683Parameters) {
  const Autoencoder model(AutoencoderConfig{}, torch::TensorOptions(torch::kMeta));
  int64_t count = 0;
  for (const torch::Tensor& parameter : model.parameters()) count += parameter.numel();
  EXPECT_EQ(count, 83819683);
}

TEST(AutoencoderNames, DiffusersNames) {
  AutoencoderConfig config;
  std::map<std::string, std::string> theirs;
  for (const WeightRule& rule : weight_rules(config, Naming::kDiffusers)) theirs[rule.ours] = rule.theirs;
  EXPECT_EQ(theirs["encoder.norm_out.weight"], "encoder.conv_norm_out.weight");
  EXPECT_EQ(theirs["encoder.down.1.block.0.nin_shortcut.bias"], "encoder.down_blocks.1.resnets.0.conv_shortcut.bias");
  EXPECT_EQ(theirs["encoder.down.2.downsample.conv.weight"], "encoder.down_blocks.2.downsamplers.0.conv.weight");
  EXPECT_EQ(theirs["decoder.mid.attn_1.proj_out.weight"], "decoder.mid_block.attentions.0.to_out.0.weight");
  EXPECT_EQ(theirs["decoder.mid.attn_1.norm.bias"], "decoder.mid_block.attentions.0.group_norm.bias");
  EXPECT_EQ(theirs["decoder.mid.block_2.conv1.weight"], "decoder.mid_block.resnets.1.conv1.weight");
  EXPECT_EQ(theirs["decoder.up.3.block.2.norm1.weight"], "decoder.up_blocks.0.resnets.2.norm1.weight");
  EXPECT_EQ(theirs["decoder.up.1.upsample.conv.bias"], "decoder.up_blocks.2.upsamplers.0.conv.bias");
}

TEST(AutoencoderConfig, IsReadFromEitherProgramsWords) {
  const nlohmann::json black_forest = {
      {"ch", 8}, {"ch_mult", {1, 3}}, {"z_channels", 5}, {"num_res_blocks", 4}, {"norm_num_groups", 4}};
  const nlohmann::json diffusers = {{"block_out_channels", {8, 24}},
                                    {"latent_channels", 5},
                                    {"layers_per_block", 4},
                                    {"norm_num_groups", 4},
                                    {"scaling_factor", 0.3611}};
  const AutoencoderConfig a = config_from_json(black_forest, "a"), b = config_from_json(diffusers, "b");
  EXPECT_EQ(a.block_out_channels, b.block_out_channels);
  EXPECT_EQ(a.latent_channels, b.latent_channels);
  EXPECT_EQ(a.layers_per_block, b.layers_per_block);
  EXPECT_EQ(a.scaling_factor, b.scaling_factor);
}

TEST(AutoencoderConfig, ShapesTellTheSizesInBothNamings) {
  AutoencoderConfig config;
  config.block_out_channels = {32, 64};
  config.layers_per_block = 3;
  TensorMap tensors = parameters_of(Autoencoder(config, torch::TensorOptions(torch::kFloat32)));
  for (Naming naming : {Naming::kBfl, Naming::kDiffusers}) {
    const ShapeMap shapes = shapes_of(export_weights(tensors, weight_rules(config, naming)));
    EXPECT_EQ(detect_naming(shapes, "file"), naming);
    const AutoencoderConfig found = config_from_shapes(shapes, naming, "file");
    EXPECT_EQ(found.block_out_channels, config.block_out_channels);
    EXPECT_EQ(found.layers_per_block, 3);
    EXPECT_EQ(found.latent_channels, 16);
  }
}

TEST(AutoencoderConfig, WhatGroupsDoNotDivideIsRefused) {
  EXPECT_THROW(config_from_json({{"block_out_channels", {33}}}, "file"), ModelError);
  EXPECT_THROW(config_from_json({{"ch_mult", {2, 4}}}, "file"), ModelError);
  EXPECT_THROW(config_from_json({{"use_quant_conv", true}}, "file"), ModelError);
}

}  // namespace
}  // namespace millrace::autoencoder
