#include "models/autoencoder/config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/config_reader.h"
#include "models/shape_queries.h"

namespace millrace::autoencoder {
namespace {

// 2^15 pixels per latent is far beyond any use, and keeps the arithmetic on sizes small.
constexpr int64_t kMaxLevels = 16;

void read_diffusers(const ConfigReader& reader, AutoencoderConfig& config) {
  config.out_channels = reader.size("out_channels", config.out_channels);
  config.latent_channels = reader.size("latent_channels", config.latent_channels);
  config.block_out_channels = reader.sizes("block_out_channels", config.block_out_channels);
  config.layers_per_block = reader.layers("layers_per_block", config.layers_per_block);
  config.scaling_factor = reader.positive("scaling_factor", config.scaling_factor);
  // FLUX's autoencoder is the plain case of diffusers' class; other features must be off.
  for (const char* key : {"use_quant_conv", "use_post_quant_conv"}) {
    if (reader.boolean(key, false)) reader.fail(key, "false (FLUX's autoencoder has none)");
  }
  if (!reader.boolean("mid_block_add_attention", true)) reader.fail("mid_block_add_attention", "true");
  if (reader.text("act_fn", "silu") != "silu") reader.fail("act_fn", "silu");
}

void read_black_forest(const ConfigReader& reader, AutoencoderConfig& config) {
  const int64_t channels = reader.size("ch", 128);
  const std::vector<int64_t> multiples = reader.sizes("ch_mult", {1, 2, 4, 4});
  if (multiples[0] != 1) reader.fail("ch_mult", "a list that begins with 1");
  config.block_out_channels.clear();
  for (int64_t multiple : multiples) config.block_out_channels.push_back(channels * multiple);
  config.out_channels = reader.size("out_ch", config.out_channels);
  config.latent_channels = reader.size("z_channels", config.latent_channels);
  config.layers_per_block = reader.layers("num_res_blocks", config.layers_per_block);
  config.scaling_factor = reader.positive("scale_factor", config.scaling_factor);
}

}  // namespace

void check(const AutoencoderConfig& config, const std::string& place) {
  if (config.levels() < 1 || config.levels() > kMaxLevels) {
    throw ModelError("[" + place + ": block_out_channels] expected 1 to " + std::to_string(kMaxLevels) +
                     " levels, got " + std::to_string(config.levels()));
  }
  for (int64_t channels : config.block_out_channels) {
    if (channels > kMaxSize) throw ModelError("[" + place + "] expected up to 2^24 channels, got more");
    if (channels % config.norm_num_groups != 0) {
      throw ModelError("[" + place + ": block_out_channels] expected multiples of norm_num_groups " +
                       std::to_string(config.norm_num_groups) + ", got " + std::to_string(channels) +
                       " (try --config with norm_num_groups)");
    }
  }
}

AutoencoderConfig config_from_json(const nlohmann::json& json, const std::string& place) {
  const ConfigReader reader(place, json);
  AutoencoderConfig config;
  config.in_channels = reader.size("in_channels", config.in_channels);
  config.norm_num_groups = reader.size("norm_num_groups", config.norm_num_groups);
  if (reader.has("shift_factor")) config.shift_factor = reader.number("shift_factor", config.shift_factor);
  if (reader.has("ch") || reader.has("ch_mult") || reader.has("z_channels")) {
    read_black_forest(reader, config);
  } else {
    read_diffusers(reader, config);
  }
  check(config, place);
  return config;
}

nlohmann::ordered_json to_diffusers_json(const AutoencoderConfig& config) {
  const std::vector<std::string> down(config.block_out_channels.size(), "DownEncoderBlock2D");
  const std::vector<std::string> up(config.block_out_channels.size(), "UpDecoderBlock2D");
  return {{"_class_name", "AutoencoderKL"},
          {"act_fn", "silu"},
          {"block_out_channels", config.block_out_channels},
          {"down_block_types", down},
          {"force_upcast", true},
          {"in_channels", config.in_channels},
          {"latent_channels", config.latent_channels},
          {"layers_per_block", config.layers_per_block},
          {"mid_block_add_attention", true},
          {"norm_num_groups", config.norm_num_groups},
          {"out_channels", config.out_channels},
          {"sample_size", 1024},
          {"scaling_factor", config.scaling_factor},
          {"shift_factor", config.shift_factor},
          {"up_block_types", up},
          {"use_post_quant_conv", false},
          {"use_quant_conv", false}};
}

AutoencoderConfig config_from_shapes(const ShapeMap& theirs, Naming naming, const std::string& place) {
  const bool diffusers = naming == Naming::kDiffusers;
  const std::string level = diffusers ? "encoder.down_blocks." : "encoder.down.";
  const std::string block = diffusers ? ".resnets." : ".block.";
  const ShapeQueries shapes("the autoencoder", theirs, place);
  AutoencoderConfig config;
  config.in_channels = shapes.size("encoder.conv_in.weight", 1);
  config.out_channels = shapes.size("decoder.conv_out.weight", 0);
  config.latent_channels = shapes.size("decoder.conv_in.weight", 1);
  config.layers_per_block = shapes.count(level + "0" + block);
  config.block_out_channels.clear();
  for (int64_t i = 0; i < shapes.count(level); ++i) {
    config.block_out_channels.push_back(shapes.size(level + std::to_string(i) + block + "0.conv1.weight", 0));
  }
  check(config, place);
  return config;
}

}  // namespace millrace::autoencoder
