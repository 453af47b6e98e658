// What every model in the table promises, with small sizes of each.
#include "models/model_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "models/config_reader.h"
#include "models/pass_inputs.h"
#include "nn/plain_layers.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

nlohmann::json small_sizes(const std::string& model) {
  if (model == "flux") {
    return {{"in_channels", 4},         {"vec_in_dim", 6},       {"context_in_dim", 5},
            {"hidden_size", 24},        {"num_heads", 3},        {"depth", 2},
            {"depth_single_blocks", 2}, {"axes_dim", {2, 4, 2}}, {"guidance_embed", true}};
  }
  if (model == "autoencoder") {
    return {
        {"block_out_channels", {4, 8, 12}}, {"norm_num_groups", 2}, {"latent_channels", 3}, {"layers_per_block", 1}};
  }
  if (model == "clip") {
    return {{"hidden_size", 12},      {"num_attention_heads", 2}, {"intermediate_size", 16},
            {"num_hidden_layers", 2}, {"vocab_size", 20},         {"max_position_embeddings", 9}};
  }
  if (model == "llama") {
    return {{"hidden_size", 12},          {"num_attention_heads", 3}, {"num_key_value_heads", 1},
            {"intermediate_size", 16},    {"num_hidden_layers", 2},   {"vocab_size", 20},
            {"tie_word_embeddings", true}};
  }
  return {{"d_model", 12},
          {"d_kv", 3},
          {"num_heads", 5},
          {"d_ff", 14},
          {"num_layers", 2},
          {"vocab_size", 20},
          {"feed_forward_proj", "gated-gelu"}};
}

class ModelTableTest : public ::testing::TestWithParam<std::string> {
 protected:
  ModelTableTest() {
    std::string name = (fs::temp_directory_path() / "millrace_models_XXXXXX").string();
    folder = mkdtemp(name.data());
    write_file_atomically(config_path(), small_sizes(GetParam()).dump());
    model = entry.from_json(small_sizes(GetParam()), "the test");
    torch::manual_seed(3);
    for (const auto& [tensor_name, shape] : model->shapes()) weights[tensor_name] = torch::randn(shape);
  }
  ~ModelTableTest() override { fs::remove_all(folder); }
  fs::path config_path() const { return folder / "sizes.json"; }

  const ModelEntry& entry = find_model(GetParam());
  fs::path folder;
  std::unique_ptr<ModelDescription> model;
  TensorMap weights;
};

TEST_P(ModelTableTest, EveryNamingRoundTripsBitExactly) {
  for (Naming naming : entry.namings) {
    for (const char* file : {"single.safetensors", "shards"}) {
      const fs::path path = folder / (std::string(naming_name(naming)) + file);
      SaveWeightsOptions options = save_options(naming);
      options.max_shard_bytes = 2000;
      save_weights(path, export_weights(weights, model->weight_rules(naming, {})), options);
      const ModelWeights opened(entry, path, config_path());
      const TensorMap back = opened.import();
      ASSERT_EQ(back.size(), weights.size());
      for (const auto& [name, tensor] : weights)
        EXPECT_TRUE(torch::equal(back.at(name), tensor)) << path << " " << name;
    }
  }
}

TEST_P(ModelTableTest, NamesOfANamingAreDifferentFromEachOther) {
  for (Naming naming : entry.namings) {
    std::set<std::string> names;
    for (const WeightRule& rule : model->weight_rules(naming, {})) EXPECT_TRUE(names.insert(rule.theirs).second);
  }
}

TEST_P(ModelTableTest, TheConfigJsonBesideAnExportGivesTheSameModel) {
  for (Naming naming : entry.namings) {
    const std::optional<std::string> config = model->config_json(naming);
    if (!config) continue;
    const fs::path path = folder / "export";
    save_weights(path, export_weights(weights, model->weight_rules(naming, {})), save_options(naming));
    write_file_atomically(path / "config.json", *config);
    const ModelWeights opened(entry, path);
    EXPECT_EQ(opened.naming(), naming);
    EXPECT_EQ(opened.model().shapes(), model->shapes());
    EXPECT_EQ(opened.model().config_json(naming), config);
  }
}

TEST_P(ModelTableTest, LoadedParametersAreTheWeightsAndFrozen) {
  const Naming naming = entry.namings.front();
  save_weights(folder / "w.safetensors", export_weights(weights, model->weight_rules(naming, {})));
  const ModelWeights opened(entry, folder / "w.safetensors", config_path());
  const auto module = opened.load(torch::kBFloat16, torch::kCPU);
  const TensorMap parameters = parameters_of(*module);
  ASSERT_EQ(parameters.size(), weights.size());
  for (const auto& [name, parameter] : parameters) {
    EXPECT_FALSE(parameter.requires_grad()) << name;
    EXPECT_TRUE(torch::equal(parameter, weights.at(name).to(torch::kBFloat16))) << name;
  }
}

TEST_P(ModelTableTest, PassesAreThoseOfTheRow) {
  std::vector<std::string> names;
  for (const ForwardPass& pass : model->passes()) {
    names.push_back(pass.name);
    EXPECT_EQ(find_model_of_pass(pass.name).name, GetParam());
  }
  EXPECT_EQ(names, entry.passes);
}

// As in the files of ComfyUI: every naming, in one file and in shards, alone and beside other models.
TEST_P(ModelTableTest, WeightsUnderAPrefixAreThoseWithoutIt) {
  const std::string prefix = entry.prefix;
  if (GetParam() != "flux") {
    EXPECT_EQ(prefix, "");
    return;
  }
  EXPECT_EQ(prefix, "model.diffusion_model.");
  for (Naming naming : entry.namings) {
    for (const bool has_others : {false, true}) {
      for (const char* file : {"all.safetensors", "shards"}) {
        TensorMap prefixed;
        for (const auto& [name, tensor] : export_weights(weights, model->weight_rules(naming, {})))
          prefixed[prefix + name] = tensor;
        if (has_others) {
          prefixed["vae.decoder.conv_in.weight"] = torch::zeros({2});
          prefixed["text_encoders.clip_l.logit_scale"] = torch::zeros({1}, torch::kInt32);
        }
        const fs::path path = folder / (std::string(naming_name(naming)) + (has_others ? "others" : "") + file);
        save_weights(path, prefixed, {.max_shard_bytes = 2000});
        const ModelWeights opened(entry, path, config_path());
        EXPECT_EQ(opened.naming(), naming);
        const TensorMap back = opened.import();
        ASSERT_EQ(back.size(), weights.size());
        for (const auto& [name, tensor] : weights) EXPECT_TRUE(torch::equal(back.at(name), tensor)) << name;
        EXPECT_EQ(parameters_of(*opened.load(torch::kFloat32, torch::kCPU)).size(), weights.size());
      }
    }
  }
}

TEST_P(ModelTableTest, NamesWithAndWithoutAPrefixAreRefused) {
  const std::string prefix = "model.diffusion_model.";
  const TensorMap theirs = export_weights(weights, model->weight_rules(entry.namings.front(), {}));
  TensorMap twice = theirs, half, misspelled;
  twice[prefix + theirs.begin()->first] = theirs.begin()->second;
  for (const auto& [name, tensor] : theirs) half[(half.size() % 2 == 0 ? prefix : "") + name] = tensor;
  for (const auto& [name, tensor] : theirs) misspelled["diffusion_model." + name] = tensor;
  for (const TensorMap& mixed : {twice, half, misspelled}) {
    save_weights(folder / "mixed.safetensors", mixed);
    EXPECT_THROW(ModelWeights(entry, folder / "mixed.safetensors", config_path()), ModelError);
  }
}

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const ModelEntry& entry : model_table()) names.emplace_back(entry.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Models, ModelTableTest, ::testing::ValuesIn(model_names()),
                         [](const auto& each) { return each.param; });

TEST(ModelTable, SuggestsTheNearestName) {
  try {
    find_model_of_pass("autoencoder_encode");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("try autoencoder-encode"));
  }
}

TEST(PassInputs, SizesBindToTheirFirstUse) {
  const auto t5 = find_model("t5").from_json(small_sizes("t5"), "the test");
  ForwardPass pass = t5->passes().at(0);
  pass.inputs.push_back({"mask", InputSpec::Kind::kFeatures, {"B", "L", "3"}});
  TensorMap given = {{"input_ids", torch::zeros({2, 4}, torch::kInt32)},
                     {"mask", torch::zeros({2, 4, 3}, torch::kFloat64)}};
  const TensorMap inputs = prepare_inputs(pass, given, torch::kBFloat16, torch::kCPU, "file");
  EXPECT_EQ(inputs.at("input_ids").scalar_type(), torch::kInt64);
  EXPECT_EQ(inputs.at("mask").scalar_type(), torch::kBFloat16);
  for (const torch::Tensor& bad : {torch::zeros({2, 5, 3}), torch::zeros({2, 4, 2}), torch::zeros({2, 4}),
                                   torch::zeros({2, 4, 3}, torch::kInt64)}) {
    given["mask"] = bad;
    EXPECT_THROW(prepare_inputs(pass, given, torch::kFloat32, torch::kCPU, "file"), DataError);
  }
}

TEST(ConfigReader, ReadsTheModelTableOfToml) {
  const fs::path path = fs::temp_directory_path() / ("millrace_config_" + std::to_string(getpid()) + ".toml");
  write_file_atomically(path, "[training]\nsteps = 3\n[model]\nsize = 7\nlist = [1, 2]\nrate = 0.5\n");
  const ConfigReader reader("place", read_config_file(path));
  EXPECT_EQ(reader.size("size"), 7);
  EXPECT_EQ(reader.sizes("list", {}), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(reader.positive("rate", 1), 0.5);
  EXPECT_FALSE(reader.has("steps"));
  write_file_atomically(path, "[model]\nsize = \n");
  try {
    read_config_file(path);
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr(".toml:2]"));
  }
  fs::remove(path);
}

TEST(ConfigReader, RefusesSizesThatNoModelHas) {
  for (const nlohmann::json& value : std::vector<nlohmann::json>{0, -3, 1.5, "7", true, 1e30, {1}, int64_t{1} << 25}) {
    EXPECT_THROW(ConfigReader("place", {{"size", value}}).size("size"), ModelError) << value;
  }
  EXPECT_THROW(ConfigReader("place", {{"depth", 1001}}).layers("depth", 1), ModelError);
  EXPECT_EQ(ConfigReader("place", {{"size", 8.0}}).size("size"), 8);
  EXPECT_EQ(ConfigReader("place", {{"size", nullptr}}).size("size", 5), 5);
  EXPECT_THROW(ConfigReader("place", nlohmann::json::object()).size("size"), ModelError);
}

}  // namespace
}  // namespace millrace
