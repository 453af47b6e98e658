#include "nn/quantised_weight.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/quantised/quantise_tensor.h"
#include "kernels/quantised/quantised_cases.h"
#include "nn/base_storage.h"
#include "nn/counting_allocator_test_support.h"
#include "nn/linear.h"

namespace millrace {
namespace {

using torch::Tensor;

Tensor unpacked(const QuantisedWeight& weight, torch::ScalarType type) {
  Tensor whole = torch::empty({weight.out_features(), weight.in_features()}, type);
  weight.unpack(0, 0, whole);
  return whole;
}

QuantisedWeight& assigned(QuantisedWeight& weight, const QuantisedTensor& matrix) {
  weight.assign({{.quantised = matrix, .dense_RK = {}}});
  return weight;
}

TEST(QuantisedWeight, ProductsAreThoseOfTheUnpackedMatrix) {
  torch::manual_seed(4);
  for (const QuantisedCase& quantised : quantised_cases(19)) {
    const QuantisedTensor& matrix = quantised.matrix;
    QuantisedWeight weight(matrix.columns, matrix.rows);
    assigned(weight, matrix);
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
      const Tensor dense = unpacked(weight, type).to(torch::kFloat64);
      const Tensor x = torch::randn({5, matrix.columns}).to(type), dy = torch::randn({5, matrix.rows}).to(type);
      Tensor out = torch::empty({5, matrix.rows}, type), dx = torch::ones({5, matrix.columns}, type);
      weight.forward(out, x);
      const double tolerance = type == torch::kFloat32 ? 1e-5 : 0x1p-7;
      const auto error = [](const Tensor& got, const Tensor& exact) {
        return ((got.to(torch::kFloat64) - exact).norm() / exact.norm()).item<double>();
      };
      EXPECT_LT(error(out, at::matmul(x.to(torch::kFloat64), dense.t())), tolerance) << quantised.name;
      const Tensor exact_dx = at::matmul(dy.to(torch::kFloat64), dense);
      weight.backward_input(dx, dy, /*accumulate=*/true);
      EXPECT_LT(error(dx, exact_dx + 1), tolerance) << quantised.name;
      weight.backward_input(dx, dy, /*accumulate=*/false);
      EXPECT_LT(error(dx, exact_dx), tolerance) << quantised.name;
    }
  }
}

// 700 x 8192: three tiles of rows, and of columns, the last ones smaller.
TEST(QuantisedWeight, TilesThatDoNotDivideTheMatrixAreJoined) {
  torch::manual_seed(5);
  constexpr int64_t kRows = 700, kColumns = 8192;
  ASSERT_GT(kRows * kColumns, 2 * max_tile_elements(torch::kCPU));
  QuantisedWeight weight(kColumns, kRows);
  assigned(weight, quantise(torch::randn({kRows, kColumns}) * 0.02, QuantisedAs::kNf4));
  const Tensor dense = unpacked(weight, torch::kFloat32);
  const Tensor x = torch::randn({3, kColumns}), dy = torch::randn({3, kRows});
  Tensor out = torch::empty({3, kRows}), dx = torch::empty({3, kColumns});
  weight.forward(out, x);
  weight.backward_input(dx, dy, /*accumulate=*/false);
  EXPECT_TRUE(at::allclose(out, at::matmul(x, dense.t()), 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(dx, at::matmul(dy, dense), 1e-4, 1e-4));
}

TEST(QuantisedWeight, PartsOfSeveralKindsAreOneMatrix) {
  torch::manual_seed(6);
  const std::vector<QuantisedCase> cases = quantised_cases(4);
  QuantisedWeight weight(512, 11);
  const Tensor dense = torch::randn({3, 512});
  const QuantisedTensor& first = cases.back().matrix;  // blocks
  weight.assign({{.quantised = first, .dense_RK = {}},
                 {.quantised = {}, .dense_RK = dense},
                 {.quantised = cases[0].matrix, .dense_RK = {}}});
  EXPECT_EQ(weight.bytes(), first.bytes() + 3 * 512 * 4 + cases[0].matrix.bytes());
  const Tensor whole = unpacked(weight, torch::kFloat32);
  Tensor expected = torch::empty({4, 512});
  dequantise(first, 0, 0, expected);
  EXPECT_TRUE(at::equal(whole.narrow(0, 0, 4), expected));
  EXPECT_TRUE(at::equal(whole.narrow(0, 4, 3), dense));
  dequantise(cases[0].matrix, 0, 0, expected);
  EXPECT_TRUE(at::equal(whole.narrow(0, 7, 4), expected));
  Tensor tile = torch::empty({5, 256});
  weight.unpack(3, 256, tile);
  EXPECT_TRUE(at::equal(tile, whole.narrow(0, 3, 5).narrow(1, 256, 256)));
  EXPECT_THROW(weight.assign({{.quantised = first, .dense_RK = {}}}), LogicError) << "rows are missing";
}

TEST(QuantisedWeight, ProductsNeedATileOfMemoryAndNotTheMatrix) {
  constexpr int64_t kRows = 4096, kColumns = 4096, kMatrix = kRows * kColumns * 4;
  const int64_t tile = max_tile_elements(torch::kCPU) * 4;
  ASSERT_GE(kMatrix, 8 * tile);
  CountingAllocator allocator;
  {
    const Tensor dense = torch::randn({kRows, kColumns});
    for (const QuantisedAs as : {QuantisedAs::kFp8, QuantisedAs::kInt8, QuantisedAs::kNf4}) {
      QuantisedWeight weight(kColumns, kRows);
      allocator.begin();
      assigned(weight, quantise(dense, as));
      // What stays, the scales of NF4 before they are quantised, and one piece that is read.
      EXPECT_LT(allocator.peak(), static_cast<size_t>(weight.bytes() + kMatrix / 64 + (int64_t{1} << 24) + 65536));
      const Tensor x = torch::randn({4, kColumns});
      Tensor out = torch::empty({4, kRows}), dx = torch::empty({4, kColumns});
      allocator.begin();
      weight.forward(out, x);
      weight.backward_input(dx, out, /*accumulate=*/false);
      EXPECT_GE(allocator.peak(), static_cast<size_t>(tile)) << "the tile itself is counted";
      EXPECT_LT(allocator.peak(), static_cast<size_t>(tile + tile / 8));
    }
  }
}

TEST(QuantisedWeight, ALayerHasItInsteadOfAParameterAndIsFrozen) {
  torch::nn::Module model;
  const auto layer = std::make_shared<Linear>(64, 8), other = std::make_shared<Linear>(64, 8);
  model.register_module("a", layer);
  model.register_module("b", other);
  store_quantised(model, [](const std::string& name) { return name == "a"; });
  EXPECT_EQ(model.named_parameters().keys(), (std::vector<std::string>{"a.bias", "b.weight", "b.bias"}));
  const auto found = quantised_weights(model);
  ASSERT_EQ(found.size(), 1u);
  assigned(*found.at("a"), quantise(torch::randn({8, 64}), QuantisedAs::kInt8));
  EXPECT_FALSE(layer->plain_weight().defined());
  layer->bias().set_data(torch::ones({8}));
  const torch::NoGradGuard no_grad;
  const Tensor x = torch::randn({2, 3, 64});
  const Tensor expected = at::matmul(x, unpacked(*found.at("a"), torch::kFloat32).t()) + 1;
  EXPECT_TRUE(at::allclose(layer->apply(x), expected, 1e-5, 1e-5));
  EXPECT_TRUE(layer->backward(torch::ones({6, 8}), x.flatten(0, 1)).defined());
}

TEST(BaseStorage, NamesAreReadBackAndMisspellingsExplained) {
  for (const char* name : {"dense", "fp8", "fp8_unscaled", "int8", "nf4", "nf4_torchao", "gguf"}) {
    EXPECT_EQ(base_storage_name(parse_base_storage(name)), name);
  }
  try {
    parse_base_storage("nf5");
    ADD_FAILURE();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("(try nf4)"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace millrace
