#include "adapters/peft_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "adapters/peft_config.h"
#include "base/error.h"
#include "base/files.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class PeftFile : public testing::Test {
 protected:
  PeftFile() {
    std::string name = (fs::temp_directory_path() / "millrace_peft_XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~PeftFile() override { fs::remove_all(folder); }

  void write(const TensorMap& tensors, const std::string& config) const {
    save_tensors(folder / "adapter_model.safetensors", tensors);
    write_file_atomically(folder / "adapter_config.json", config);
  }

  fs::path folder;
};

const std::string kLayer = "base_model.model.model.layers.0.";

TEST_F(PeftFile, AdaptersAreListedByModule) {
  write({{kLayer + "mlp.up_proj.lora_A.weight", torch::ones({2, 5})},
         {kLayer + "mlp.up_proj.lora_B.weight", torch::ones({7, 2})},
         {kLayer + "mlp.up_proj.base_layer.weight", torch::ones({7, 5})},
         {"base_model.model.lm_head.lora_A.weight", torch::ones({4, 5})},
         {"base_model.model.lm_head.lora_B.weight", torch::ones({3, 4})}},
        R"({"peft_type": "LORA", "r": 2, "lora_alpha": 6, "rank_pattern": {"lm_head": 4}, "use_rslora": true})");
  for (const fs::path& path : {folder, folder / "adapter_model.safetensors"}) {
    const std::vector<AdapterTensors> adapters = read_peft_file(path);
    ASSERT_EQ(adapters.size(), 2u);
    EXPECT_EQ(adapters[0].module, "lm_head");
    EXPECT_DOUBLE_EQ(adapters[0].scale, 6 / 2.0);
    EXPECT_EQ(adapters[1].module, "model.layers.0.mlp.up_proj");
    EXPECT_DOUBLE_EQ(adapters[1].scale, 6 / std::sqrt(2.0));
    EXPECT_EQ(adapters[1].tensors.at("up").name, kLayer + "mlp.up_proj.lora_B.weight");
    EXPECT_EQ(adapters[1].tensors.at("up").values.sizes(), at::IntArrayRef({7, 2}));
  }
}

TEST_F(PeftFile, AnAdapterOfOneMatrixOrAnotherRankIsRefused) {
  const std::string config = R"({"r": 2, "lora_alpha": 6})";
  const TensorMap both = {{kLayer + "q.lora_A.weight", torch::ones({2, 5})},
                          {kLayer + "q.lora_B.weight", torch::ones({7, 2})}};
  write({*both.begin()}, config);
  EXPECT_THROW(read_peft_file(folder), ModelError);
  write(both, R"({"r": 3, "lora_alpha": 6})");
  EXPECT_THROW(read_peft_file(folder), ModelError);
  write(both, R"({"r": 2, "lora_alpha": 6, "use_dora": true})");
  EXPECT_THROW(read_peft_file(folder), ModelError);
  write({}, config);
  EXPECT_THROW(read_peft_file(folder), ModelError);
  write(both, config);
  EXPECT_EQ(read_peft_file(folder).size(), 1u);
  fs::remove(folder / "adapter_config.json");
  EXPECT_THROW(read_peft_file(folder), ConfigError);
}

TEST_F(PeftFile, LohaAndLokrAreScaledByTheConfigurationsRank) {
  const TensorMap whole = {{kLayer + "q.lokr_w1", torch::ones({2, 3})}, {kLayer + "q.lokr_w2", torch::ones({5, 4})}};
  write(whole, R"({"peft_type": "LOKR", "r": 4, "alpha": 6})");
  ASSERT_EQ(read_peft_file(folder).size(), 1u);
  EXPECT_EQ(read_peft_file(folder)[0].kind, AdapterKind::kLokr);
  EXPECT_DOUBLE_EQ(read_peft_file(folder)[0].scale, 1.5) << "LyCORIS would take 1";
  write(whole, R"({"r": 4, "lora_alpha": 6})");
  EXPECT_THROW(read_peft_file(folder), ModelError);

  const auto ones = [](int64_t rows, int64_t columns) { return torch::ones({rows, columns}); };
  write({{kLayer + "q.hada_w1_a", ones(6, 2)},
         {kLayer + "q.hada_w1_b", ones(2, 4)},
         {kLayer + "q.hada_w2_a", ones(6, 2)},
         {kLayer + "q.hada_w2_b", ones(2, 4)}},
        R"({"peft_type": "LOHA", "r": 8, "alpha": 8, "rank_pattern": {"q": 2}, "alpha_pattern": {"q": 3}})");
  EXPECT_EQ(read_peft_file(folder)[0].kind, AdapterKind::kLoha);
  EXPECT_DOUBLE_EQ(read_peft_file(folder)[0].scale, 1.5);
}

TEST_F(PeftFile, WhatIsNoLoraOfLinearLayersIsRefused) {
  for (const char* config :
       {R"([])", R"({"peft_type": "OFT"})", R"({"bias": "all"})", R"({"fan_in_fan_out": true})",
        R"({"modules_to_save": ["norm"]})", R"({"r": 0})", R"({"lora_alpha": "8"})", R"({"rank_pattern": {"(": 2}})",
        R"({"use_dora": 1})", R"({"init_lora_weights": "pissa_niter_4"})", R"({"init_lora_weights": "OLoRA"})",
        R"({"alora_invocation_tokens": [1, 2]})", R"({"use_qalora": true})", R"({"arrow_config": {"top_k": 2}})"}) {
    write_file_atomically(folder / "adapter_config.json", config);
    EXPECT_THROW(read_peft_config(folder / "adapter_config.json"), Error) << config;
  }
}

TEST_F(PeftFile, HowAdaptersStartedIsNoMatterWhereTheBaseStaysWhatItWas) {
  for (const char* way : {"true", "false", "null", "\"gaussian\"", "\"eva\"", "\"orthogonal\""}) {
    const std::string config = std::string(R"({"r": 3, "init_lora_weights": )") + way + "}";
    write_file_atomically(folder / "adapter_config.json", config);
    EXPECT_EQ(read_peft_config(folder / "adapter_config.json").rank, 3) << config;
  }
}

TEST_F(PeftFile, PatternsNameModulesOrTheirEnds) {
  PeftConfig config;
  config.rank = 8;
  config.alpha = 16;
  config.rank_pattern = {{"layers.1.*q_proj", 4}, {"k_proj", 2}};
  config.alpha_pattern = {{"model.layers.0.self_attn.k_proj", 3}};
  EXPECT_EQ(config.rank_of("model.layers.1.self_attn.q_proj"), 4);
  EXPECT_EQ(config.rank_of("model.layers.2.self_attn.q_proj"), 8);
  EXPECT_EQ(config.rank_of("model.layers.2.self_attn.k_proj"), 2);
  EXPECT_EQ(config.rank_of("model.layers.2.self_attn.other_k_proj"), 8);
  EXPECT_DOUBLE_EQ(config.scale_of("model.layers.0.self_attn.k_proj"), 1.5);
}

}  // namespace
}  // namespace millrace
