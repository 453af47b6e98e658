// Quantised weights of other programs, byte for byte (tests/golden/nf4, tests/golden/gguf: what they were run to give).
#include <gtest/gtest.h>

#include "formats/weight_store.h"
#include "kernels/quantised/quantise_tensor.h"
#include "nn/quantised_io.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

using torch::Tensor;

const TensorMap& nf4_golden() {
  static const TensorMap golden = load_tensors(MILLRACE_GOLDEN "/nf4/nf4.safetensors");
  return golden;
}

Tensor first_rows(const QuantisedTensor& matrix, torch::ScalarType type) {
  Tensor rows = torch::empty({32, matrix.columns}, type);
  dequantise(matrix, 0, 0, rows);
  return rows;
}

class Nf4Golden : public testing::TestWithParam<const char*> {
 protected:
  Tensor golden(const std::string& name) const { return nf4_golden().at(std::string(GetParam()) + "." + name); }
  Tensor weight() const { return golden("weight"); }
};

TEST_P(Nf4Golden, TorchaoGivesTheseBytesAndNumbers) {
  const QuantisedTensor got = quantise(weight(), QuantisedAs::kNf4Torchao);
  EXPECT_TRUE(at::equal(got.codes, golden("torchao.quantized_data").view({-1})));
  EXPECT_TRUE(at::equal(got.scale_codes.view(torch::kInt8), golden("torchao.quantized_scalers").view({-1})));
  EXPECT_TRUE(at::equal(got.scale_factors, golden("torchao.quantization_factor").to(torch::kFloat32).view({-1})));
  EXPECT_TRUE(at::equal(got.scale_offset, golden("torchao.scaler_mean").to(torch::kFloat32).view({-1})));
  EXPECT_TRUE(at::equal(got.nf4_table, golden("torchao.lut").to(torch::kFloat32)));
  EXPECT_TRUE(at::equal(first_rows(got, weight().scalar_type()), golden("torchao.dequantized")));
}

TEST_P(Nf4Golden, BitsandbytesGivesTheseBytesAndNumbers) {
  QuantisedTensor got = quantise(weight(), QuantisedAs::kNf4);
  EXPECT_TRUE(at::equal(got.codes, golden("bitsandbytes.packed").view({-1})));
  EXPECT_TRUE(at::equal(got.scale_table, nf4_golden().at("float32.bitsandbytes_double.absmax_code")));
  EXPECT_TRUE(at::equal(got.scale_offset, golden("bitsandbytes_double.absmax_offset").view({-1})));
  EXPECT_TRUE(at::equal(got.scale_factors, golden("bitsandbytes_double.absmax_absmax").view({-1})));
  // bitsandbytes takes another than the nearest code for one of the 512 scales in float32.
  const Tensor theirs = golden("bitsandbytes_double.absmax").view({-1});
  const Tensor differs = got.scale_codes.ne(theirs);
  EXPECT_LE(differs.sum().item<int64_t>(), 1);
  const auto distance = [&](const Tensor& codes) {
    const Tensor scales = got.scale_table.index_select(0, codes.to(torch::kInt64)).view({-1, kNf4ScaleBlock}) *
                              got.scale_factors.unsqueeze(1) +
                          got.scale_offset;
    return (scales.view({-1}) - golden("bitsandbytes.absmax").view({-1})).abs();
  };
  EXPECT_TRUE(at::equal(distance(got.scale_codes).lt(distance(theirs)), differs));
  got.scale_codes = theirs.clone();
  EXPECT_TRUE(at::equal(first_rows(got, weight().scalar_type()), golden("bitsandbytes_double.dequantized")));
}

INSTANTIATE_TEST_SUITE_P(Types, Nf4Golden, testing::Values("float32", "bfloat16"),
                         [](const auto& test) { return std::string(test.param); });

TEST(GgufGolden, TensorsAreGgufPysValuesWithHeadsInOrder) {
  for (const char* name : {"every_type", "llama"}) {
    const std::string path = std::string(MILLRACE_GOLDEN "/gguf/") + name;
    const TensorMap got = load_tensors(path + ".gguf"), expected = load_tensors(path + ".safetensors");
    EXPECT_EQ(got.size(), expected.size());
    for (const auto& [tensor, values] : expected) {
      EXPECT_TRUE(at::equal(got.at(tensor).to(torch::kFloat32), values)) << name << ": " << tensor;
    }
  }
}

TEST(GgufGolden, BlocksThatStayBlocksHaveTheSameValues) {
  const WeightStore store(MILLRACE_GOLDEN "/gguf/llama.gguf");
  size_t compared = 0;
  for (const TensorView& view : store.tensors()) {
    if (view.block_format == BlockFormat::kNone) continue;
    const QuantisedTensor blocks = blocks_of(view);
    Tensor values = torch::empty({blocks.rows, blocks.columns});
    dequantise(blocks, 0, 0, values);
    EXPECT_TRUE(at::equal(values, to_tensor(view))) << view.name;
    ++compared;
  }
  EXPECT_EQ(compared, 6u);
}

}  // namespace
}  // namespace millrace
