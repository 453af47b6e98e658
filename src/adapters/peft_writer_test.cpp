#include "adapters/peft_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "adapters/peft_file.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

class PeftWriter : public FolderTest {};

const std::vector<std::string> kLayers = {"layers.0.q_proj", "layers.0.v_proj", "layers.1.q_proj", "layers.1.v_proj"};

TEST_F(PeftWriter, NamesTargetsByTheirEndsWhereAllOfThemAreAdapted) {
  EXPECT_EQ(peft_target_modules({"layers.0.q_proj", "layers.1.q_proj"}, kLayers), std::vector<std::string>{"q_proj"});
  EXPECT_EQ(peft_target_modules({"layers.0.q_proj", "layers.1.v_proj", "layers.1.q_proj"}, kLayers),
            (std::vector<std::string>{"layers.1.v_proj", "q_proj"}));
}

TEST_F(PeftWriter, WritesWhatTheReaderReads) {
  const TensorMap ours = {{"layers.0.q_proj.down", torch::rand({2, 5})}, {"layers.0.q_proj.up", torch::rand({7, 2})}};
  write_peft_folder(folder_, ours, {2, 3, true, "base", kLayers});
  const std::vector<AdapterTensors> read = read_peft_file(folder_);
  ASSERT_EQ(read.size(), 1U);
  EXPECT_EQ(read[0].module, "layers.0.q_proj");
  EXPECT_DOUBLE_EQ(read[0].scale, 3 / std::sqrt(2.0));
  EXPECT_TRUE(torch::equal(read[0].tensors.at("down").values, ours.at("layers.0.q_proj.down")));
  EXPECT_TRUE(torch::equal(read[0].tensors.at("up").values, ours.at("layers.0.q_proj.up")));
}

TEST_F(PeftWriter, ARankOfItsOwnIsRead) {
  TensorMap ours;
  for (const auto& [layer, rank] : {std::pair{"layers.0.q_proj", 2}, {"layers.10.q_proj", 4}, {"layers.1.q_proj", 3}}) {
    ours[std::string(layer) + ".down"] = torch::rand({rank, 5});
    ours[std::string(layer) + ".up"] = torch::rand({7, rank});
  }
  for (const bool alpha_is_rank : {false, true}) {
    write_peft_folder(folder_, ours, {.rank = 2, .alpha = 2, .layers = kLayers, .alpha_is_rank = alpha_is_rank});
    for (const AdapterTensors& read : read_peft_file(folder_)) {
      const double rank = read.module == "layers.1.q_proj" ? 3 : read.module == "layers.10.q_proj" ? 4 : 2;
      EXPECT_DOUBLE_EQ(read.scale, alpha_is_rank ? 1 : 2 / rank) << read.module;
      EXPECT_EQ(static_cast<double>(read.tensors.at("down").values.size(0)), rank);
    }
  }
}

TEST_F(PeftWriter, AnAlphaOfItsOwnIsRead) {
  TensorMap ours;
  for (const char* layer : {"layers.0.q_proj", "layers.1.q_proj"}) {
    ours[std::string(layer) + ".down"] = torch::rand({2, 5});
    ours[std::string(layer) + ".up"] = torch::rand({7, 2});
  }
  write_peft_folder(folder_, ours,
                    {.rank = 2, .alpha = 2, .layers = kLayers, .own_alphas = {{"layers.1.q_proj", 6}, {"other", 1}}});
  for (const AdapterTensors& read : read_peft_file(folder_)) {
    EXPECT_DOUBLE_EQ(read.scale, read.module == "layers.1.q_proj" ? 3 : 1);
  }
}

TEST_F(PeftWriter, LohaAndLokrAreRead) {
  const auto matrix = [](int64_t rows, int64_t columns) { return torch::rand({rows, columns}); };
  const std::string layer = kLayers[0] + ".";
  const TensorMap loha = {{layer + "w1_a", matrix(6, 3)},
                          {layer + "w1_b", matrix(3, 4)},
                          {layer + "w2_a", matrix(6, 3)},
                          {layer + "w2_b", matrix(3, 4)}};
  write_peft_folder(folder_, loha, {.rank = 2, .alpha = 6, .layers = kLayers, .kind = AdapterKind::kLoha});
  ASSERT_EQ(read_peft_file(folder_).size(), 1U);
  EXPECT_DOUBLE_EQ(read_peft_file(folder_)[0].scale, 2) << "alpha over the rank of its own";
  EXPECT_TRUE(torch::equal(read_peft_file(folder_)[0].tensors.at("w2_b").values, loha.at(layer + "w2_b")));

  const TensorMap lokr = {{layer + "w1", matrix(2, 2)}, {layer + "w2_a", matrix(3, 1)}, {layer + "w2_b", matrix(1, 2)}};
  write_peft_folder(folder_, lokr, {.rank = 1, .alpha = 0.5, .layers = kLayers, .kind = AdapterKind::kLokr});
  EXPECT_EQ(read_peft_file(folder_)[0].kind, AdapterKind::kLokr);
  EXPECT_DOUBLE_EQ(read_peft_file(folder_)[0].scale, 0.5);
}

TEST_F(PeftWriter, WholeNumbersAreWrittenAsSuch) {
  const auto alpha = [](double value) {
    return nlohmann::json::parse(peft_config_json({}, {2, value, false, "", {}}))["lora_alpha"].dump();
  };
  EXPECT_EQ(alpha(16), "16");
  EXPECT_EQ(alpha(1.5), "1.5");
}

}  // namespace
}  // namespace millrace
