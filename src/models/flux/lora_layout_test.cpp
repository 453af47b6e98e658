// The modules, parameters, tensors and groups that sd-scripts makes for FLUX.1-dev, CLIP-L and T5-XXL
// (tests/golden/flux_lora/keys: what it was run to give).
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "download/checksum.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "models/clip/config.h"
#include "models/flux/config.h"
#include "models/flux/lora_groups.h"
#include "models/flux/lora_layout.h"
#include "models/t5/config.h"

namespace millrace::flux {
namespace {

nlohmann::ordered_json golden(const std::string& file) {
  return parse_ordered_json<DataError>(read_file(MILLRACE_GOLDEN "/flux_lora/" + file), file);
}

std::string sha256_of_lines(const std::vector<std::string>& lines) {
  const std::string text = join(lines, "\n");
  ChecksumStream stream(ChecksumKind::kSha256, text.size());
  stream.update(std::as_bytes(std::span(text)));
  return stream.finish().hex;
}

std::map<std::string, std::string> network_args(const nlohmann::ordered_json& test) {
  std::map<std::string, std::string> result;
  for (const auto& [key, value] : test.at("network_args").items()) result[key] = value.get<std::string>();
  return result;
}

FluxConfig dev() {
  FluxConfig config;
  config.guidance_embed = true;
  return config;
}

class Reference {
 public:
  LoraNetwork network(const nlohmann::ordered_json& test) const {
    const auto dim = test.at("network_dim");
    const double alpha = test.value("network_alpha", 1.0);
    return parse_lora_network(dim.is_null() ? std::nullopt : std::optional<int64_t>(dim.get<int64_t>()), alpha,
                              network_args(test), transformer_);
  }
  std::vector<LoraModule> modules(const LoraNetwork& network, bool transformer, bool text_encoders) const {
    return lora_modules({.transformer = transformer ? &transformer_ : nullptr,
                         .clip = text_encoders ? &clip_ : nullptr,
                         .t5 = text_encoders ? &t5_ : nullptr},
                        network);
  }

 private:
  FluxConfig transformer_ = dev();
  clip::ClipConfig clip_;
  t5::T5Config t5_;
};

TEST(LoraLayout, IsTheReferencesForEveryKindOfNetwork) {
  const Reference reference;
  int compared = 0;
  const nlohmann::ordered_json index = golden("keys/index.json");
  for (const auto& test : index.at("cases")) {
    const std::string name = test.at("name");
    if (test.contains("error")) {
      EXPECT_THROW(reference.network(test), ConfigError) << name;
      continue;
    }
    const std::vector<LoraModule> modules =
        reference.modules(reference.network(test), test.at("apply_unet"), test.at("apply_text_encoder"));
    EXPECT_EQ(std::ssize(modules), test.at("modules")) << name;
    std::vector<std::string> names;
    int64_t trained = 0;
    for (const LoraModule& module : modules) {
      names.push_back(module.name);
      const int64_t pairs = std::max<int64_t>(1, std::ssize(module.row_sizes));
      trained += module.rank * (module.layer.out_features + pairs * module.layer.in_features);
    }
    EXPECT_EQ(trained, test.at("trained_parameters")) << name;
    EXPECT_EQ(sha256_of_lines(names), test.at("construction_order_sha256")) << name;

    // split_qkv's list is of a file in fp16, which its note does not say.
    const std::string note = test.at("note");
    const bool is_bf16 = note.find("bf16") != std::string::npos;
    const bool is_fp16 = note.find("fp16") != std::string::npos || name == "split_qkv_r8_a8";
    const std::optional<DType> save_dtype = is_bf16   ? std::optional(DType::kBF16)
                                            : is_fp16 ? std::optional(DType::kF16)
                                                      : std::nullopt;
    std::vector<std::string> lines;
    for (const FileTensorSpec& tensor : lora_file_tensors(modules, save_dtype)) {
      std::string shape;
      for (const int64_t size : tensor.shape) shape += (shape.empty() ? "" : "x") + std::to_string(size);
      lines.push_back(tensor.name + " " + std::string(dtype_name(tensor.dtype)) + " " + shape);
    }
    EXPECT_EQ(std::ssize(lines), test.at("tensors")) << name;
    EXPECT_EQ(sha256_of_lines(lines), test.at("sha256_of_lines"))
        << name << ": " << lines.front() << "; " << lines.back();
    ++compared;
  }
  EXPECT_GE(compared, 17);
}

TEST(LoraGroups, AreTheReferencesForEveryKindOfRate) {
  const Reference reference;
  for (const auto& test : golden("keys/param_groups.json")) {
    const std::string name = test.at("name");
    const LoraNetwork network = reference.network(test);
    LoraLearningRates rates{test.at("learning_rate").get<double>(), std::nullopt, {}};
    if (!test.at("unet_lr").is_null()) rates.unet_lr = test.at("unet_lr").get<double>();
    if (!test.at("text_encoder_lr").is_null())
      rates.text_encoder_lr = test.at("text_encoder_lr").get<std::vector<double>>();
    const std::vector<LoraModule> modules = reference.modules(network, true, name != "unet_only");
    const std::vector<LoraGroup> groups = lora_groups(modules, network, rates);
    size_t parameters = 0;
    for (const LoraModule& module : modules) parameters += module.parameter_names().size();
    ASSERT_EQ(groups.size(), test.at("groups").size()) << name;
    for (size_t i = 0; i < groups.size(); ++i) {
      const auto& expected = test.at("groups")[i];
      EXPECT_EQ(groups[i].lr, expected.at("lr").get<double>()) << name;
      EXPECT_EQ(groups[i].description, expected.at("description")) << name;
      EXPECT_EQ(groups[i].parameters.size(), expected.at("count")) << name;
      EXPECT_EQ(sha256_of_lines(groups[i].parameters), expected.at("sha256_of_names")) << name;
      parameters -= groups[i].parameters.size();
    }
    EXPECT_EQ(parameters, test.at("tensors_without_group")) << name;
  }
}

TEST(LoraNetwork, SaysWhichArgumentsChangeNothing) {
  const LoraNetwork network = parse_lora_network(
      4, 1.0, {{"only_if_contains", "img_attn"}, {"split_qkv", "true"}, {"conv_dim", "4"}, {"img_atn_dim", "2"}},
      dev());
  EXPECT_EQ(join(network.notes, "\n"),
            "conv_dim has no effect: FLUX has no convolutions\n"
            "img_atn_dim has no effect: networks.lora_flux does not know it (is img_attn_dim meant?)\n"
            "only_if_contains has no effect: networks.lora_flux does not know it\n"
            "split_qkv=true has no effect: only the text True switches it on");
}

TEST(LoraNetwork, NamesWhatItCannotRead) {
  const auto message = [](const std::string& key, const std::string& value) -> std::string {
    try {
      parse_lora_network(4, 1.0, {{key, value}}, dev());
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message("train_single_block_indices", "0,38"),
            "[network_args: train_single_block_indices] expected blocks 0 to 37, got \"0,38\"");
  EXPECT_EQ(message("network_reg_dims", "(=4"),
            "[network_args: network_reg_dims] expected a regular expression, got \"(\"");
  EXPECT_EQ(message("rank_dropout", "1"), "[network_args: rank_dropout] expected a probability in [0, 1), got \"1\"");
}

}  // namespace
}  // namespace millrace::flux
