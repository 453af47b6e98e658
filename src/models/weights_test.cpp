#include "models/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>

#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/files.h"
#include "formats/json.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class WeightsTest : public ::testing::Test {
 protected:
  WeightsTest() {
    std::string name = (fs::temp_directory_path() / "millrace_weights_XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~WeightsTest() override { fs::remove_all(folder); }

  // The message of the ModelError that reading these tensors as `ours` gives; "" when it succeeds.
  std::string error_of(const TensorMap& theirs, const WeightRules& some_rules,
                       const IgnorableNames& ignorable = {}) const {
    save_tensors(folder / "error.safetensors", theirs);
    try {
      check_weights("the test model", ours_shapes, WeightStore(folder / "error.safetensors"), some_rules, ignorable);
    } catch (const ModelError& error) {
      return error.what();
    }
    return "";
  }

  fs::path folder;
  const ShapeMap ours_shapes = {{"qkv", {6, 2}}, {"mod", {4}}, {"conv", {3, 3, 1, 1}}, {"plain", {2, 5}}};
  const WeightRules rules = {{"qkv", "q", 0, 2},
                             {"qkv", "k", 2, 4},
                             {"qkv", "v", 4, 6},
                             {"mod", "theirs.mod", 0, -1, /*swap_halves=*/true},
                             {"conv", "theirs.conv", 0, -1, false, /*squeeze_1x1=*/true},
                             {"plain", "plain"}};
  TensorMap ours() const {
    TensorMap tensors;
    torch::manual_seed(1);
    for (const auto& [name, shape] : ours_shapes) tensors[name] = torch::randn(shape);
    return tensors;
  }
};

void expect_bit_equal(const TensorMap& got, const TensorMap& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (const auto& [name, tensor] : expected) {
    ASSERT_TRUE(got.count(name)) << name;
    EXPECT_EQ(got.at(name).dtype(), tensor.dtype()) << name;
    EXPECT_TRUE(torch::equal(got.at(name), tensor)) << name;
  }
}

TEST_F(WeightsTest, ExportGivesTheirNamesRowsAndShapes) {
  const TensorMap mine = ours(), theirs = export_weights(mine, rules);
  EXPECT_EQ(theirs.size(), rules.size());
  EXPECT_TRUE(torch::equal(theirs.at("k"), mine.at("qkv").slice(0, 2, 4)));
  EXPECT_TRUE(torch::equal(theirs.at("theirs.mod"), mine.at("mod").index_select(0, torch::tensor({2, 3, 0, 1}))));
  EXPECT_EQ(theirs.at("theirs.conv").sizes(), (std::vector<int64_t>{3, 3}));
}

TEST_F(WeightsTest, ImportIsTheExactInverseOfExportInEveryDtype) {
  for (torch::ScalarType dtype : {torch::kFloat32, torch::kBFloat16, torch::kFloat16, torch::kFloat64}) {
    TensorMap mine = ours();
    for (auto& [name, tensor] : mine) tensor = tensor.to(name == "plain" ? torch::kFloat32 : dtype);
    save_weights(folder / "w.safetensors", export_weights(mine, rules));
    const WeightStore store(folder / "w.safetensors");
    expect_bit_equal(import_weights("the test model", ours_shapes, store, rules), mine);
  }
}

TEST_F(WeightsTest, ExportLeavesOutWhatHasNoGradient) {
  TensorMap gradients = ours();
  gradients.erase("qkv");
  EXPECT_EQ(export_weights(gradients, rules).size(), 3);
}

TEST_F(WeightsTest, LoadConvertsToTheModulesDtype) {
  torch::nn::Linear module(torch::nn::LinearOptions(3, 4));
  module->to(torch::kBFloat16);
  const TensorMap theirs = {{"weight", torch::randn({4, 3})}, {"bias", torch::randn({4}).to(torch::kFloat16)}};
  save_weights(folder / "w.safetensors", theirs);
  load_weights(*module, WeightStore(folder / "w.safetensors"), identity_rules(shapes_of(*module)));
  EXPECT_TRUE(torch::equal(module->weight, theirs.at("weight").to(torch::kBFloat16)));
  EXPECT_TRUE(torch::equal(module->bias, theirs.at("bias").to(torch::kBFloat16)));
}

TEST_F(WeightsTest, DifferencesAreCountedAndNamed) {
  const TensorMap good = export_weights(ours(), rules);
  EXPECT_EQ(error_of(good, rules), "");
  TensorMap bad = good;
  bad.erase("k");
  bad["v"] = torch::zeros({2, 3});
  bad["plain"] = torch::zeros({2, 5}, torch::kInt32);
  for (int i = 0; i < 8; ++i) bad["surplus." + std::to_string(i)] = torch::zeros({1});
  const std::string message = error_of(bad, rules);
  EXPECT_THAT(message, HasSubstr("error.safetensors] expected the 6 tensors of the test model"));
  EXPECT_THAT(message, HasSubstr("1 missing: k;"));
  EXPECT_THAT(message, HasSubstr("8 unknown: surplus.0"));
  EXPECT_THAT(message, HasSubstr("surplus.4 and 3 more"));
  EXPECT_THAT(message, HasSubstr("v (expected [2, 2], got [2, 3])"));
  EXPECT_THAT(message, HasSubstr("plain (expected floating point, got I32)"));
}

TEST_F(WeightsTest, IgnorableNamesAreExactOrPrefixes) {
  TensorMap more = export_weights(ours(), rules);
  more["decoder.x"] = more["alias"] = torch::zeros({1});
  EXPECT_EQ(error_of(more, rules, {"decoder.", "alias"}), "");
  EXPECT_THAT(error_of(more, rules, {"decoder", "alias."}), HasSubstr("2 unknown"));
}

TEST_F(WeightsTest, RulesThatLeaveRowsOutAreAMistakeOfOurs) {
  WeightRules gap = rules;
  gap.erase(gap.begin());
  EXPECT_THROW(error_of(ours(), gap), LogicError);
}

TEST_F(WeightsTest, PiecesOfOneTensorShareADtype) {
  TensorMap theirs = export_weights(ours(), rules);
  theirs["k"] = theirs["k"].to(torch::kBFloat16);
  save_weights(folder / "w.safetensors", theirs);
  const WeightStore store(folder / "w.safetensors");
  EXPECT_THROW(import_weights("the test model", ours_shapes, store, rules), ModelError);
}

TEST_F(WeightsTest, ShardsAreFilledInOrderAndIndexed) {
  const TensorMap tensors = {{"a", torch::randn({10})},
                             {"b", torch::randn({10})},
                             {"c", torch::randn({100})},
                             {"d", torch::randn({5})},
                             {"e", torch::randn({5})}};
  const fs::path path = folder / "sharded";
  save_weights(path, tensors, {.base_name = "model", .max_shard_bytes = 80});
  // a b | c, larger than a shard | d e
  EXPECT_EQ(WeightStore(path / "model-00001-of-00003.safetensors").tensors().size(), 2);
  EXPECT_EQ(WeightStore(path / "model-00002-of-00003.safetensors").tensors().size(), 1);
  EXPECT_EQ(WeightStore(path / "model-00003-of-00003.safetensors").tensors().size(), 2);
  const std::string index = read_file(path / "model.safetensors.index.json");
  const nlohmann::json json = parse_json<ModelError>(index, "index");
  EXPECT_EQ(json["metadata"]["total_size"], 4 * 130);
  EXPECT_EQ(json["weight_map"]["c"], "model-00002-of-00003.safetensors");
  expect_bit_equal(load_tensors(path), tensors);
  expect_bit_equal(load_tensors(path / "model.safetensors.index.json"), tensors);

  // A second save into the folder replaces the first, whatever became of the number of shards.
  TensorMap changed = tensors;
  changed["a"] = torch::randn({10});
  save_weights(path, changed, {.base_name = "model"});
  expect_bit_equal(load_tensors(path), changed);
  save_weights(path, tensors, {.base_name = "model", .max_shard_bytes = 500});
  expect_bit_equal(load_tensors(path), tensors);
}

TEST(Naming, IsParsedByNameAndSuggestsTheNearest) {
  EXPECT_EQ(parse_naming("diffusers"), Naming::kDiffusers);
  EXPECT_EQ(naming_name(Naming::kBfl), "bfl");
  try {
    parse_naming("difusers");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("try diffusers"));
  }
}

}  // namespace
}  // namespace millrace
