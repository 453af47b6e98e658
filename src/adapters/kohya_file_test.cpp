// Tensor order and hashes of files that sd-scripts gives (tests/golden/flux_lora/metadata: what it was run to give).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "adapters/kohya_file.h"
#include "adapters/kohya_test_support.h"
#include "base/error.h"
#include "base/files.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

// Element i of tensor k is ((31 i + 17 k) mod 256 - 128) / 64, for integers without the division.
TensorMap tensors_of(const nlohmann::ordered_json& test) {
  TensorMap tensors;
  int64_t k = 0;
  for (const auto& each : test.at("tensors")) {
    const auto shape = each[2].get<std::vector<int64_t>>();
    const DType dtype = *parse_dtype(each[1].get<std::string>());
    const torch::Tensor values = (torch::arange(element_count(shape)) * 31 + 17 * k++).remainder(256) - 128;
    tensors[each[0].get<std::string>()] = is_floating(dtype)
                                              ? (values.to(torch::kFloat64) / 64).to(to_scalar_type(dtype)).view(shape)
                                              : values.to(to_scalar_type(dtype)).view(shape);
  }
  return tensors;
}

using KohyaFile = FolderTest;

TEST_F(KohyaFile, HasTheReferencesHashesAndTensorOrder) {
  const nlohmann::ordered_json hashes = golden("hashes.json");
  for (const auto& test : hashes.at("cases")) {
    const std::filesystem::path lora = path("lora.safetensors");
    const SafetensorsMetadata metadata = texts(test.at("metadata"));
    write_kohya_file(lora, tensors_of(test), std::nullopt, metadata);
    const SafetensorsFile file(lora);
    EXPECT_EQ(file.metadata().at("sshs_model_hash"), test.at("sshs_model_hash")) << test.at("name");
    EXPECT_EQ(file.metadata().at("sshs_legacy_hash"), test.at("sshs_legacy_hash")) << test.at("name");
    EXPECT_EQ(file.metadata().size(), metadata.size() + 2);
    std::vector<std::string> order;
    for (const TensorView& tensor : file.tensors()) order.push_back(tensor.name);
    EXPECT_EQ(order, test.at("tensor_order_in_file").get<std::vector<std::string>>()) << test.at("name");
  }
}

TEST_F(KohyaFile, CastsAlphaWithTheRest) {
  const std::filesystem::path lora = path("lora.safetensors");
  write_kohya_file(lora, {{"m.alpha", torch::tensor(3)}, {"m.lora_up.weight", torch::ones({2, 2})}}, torch::kBFloat16,
                   {});
  const SafetensorsFile file(lora);
  for (const TensorView& tensor : file.tensors()) EXPECT_EQ(tensor.dtype, DType::kBF16) << tensor.name;
}

}  // namespace
}  // namespace millrace
