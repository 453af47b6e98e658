// LoHa and LoKr against what autograd makes of their formulas in fp64, and against the merged weight.
#include <gtest/gtest.h>

#include "adapters/adapter_test_support.h"
#include "adapters/attach_adapters.h"
#include "adapters/merge_adapter.h"

namespace millrace {
namespace {

constexpr int64_t kLycorisRank = 2;
constexpr double kLycorisScale = 0.75;

struct Case {
  const char* name;
  AdapterKind kind;
  std::map<std::string, std::vector<int64_t>> shapes;
  int64_t row_begin = 0, row_end = -1;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"LoHa",
       AdapterKind::kLoha,
       {{"w1_a", {kOut, kLycorisRank}},
        {"w1_b", {kLycorisRank, kIn}},
        {"w2_a", {kOut, kLycorisRank}},
        {"w2_b", {kLycorisRank, kIn}}}},
      {"LoKr of whole factors", AdapterKind::kLokr, {{"w1", {2, 3}}, {"w2", {5, 4}}}},
      {"LoKr of thin factors",
       AdapterKind::kLokr,
       {{"w1_a", {5, kLycorisRank}},
        {"w1_b", {kLycorisRank, 2}},
        {"w2_a", {2, kLycorisRank}},
        {"w2_b", {kLycorisRank, 6}}}},
      {"LoKr of some outputs", AdapterKind::kLokr, {{"w1", {2, 4}}, {"w2_a", {3, 1}}, {"w2_b", {1, 3}}}, 3, 9},
  };
  return all;
}

torch::Tensor change_of(const Case& test, const std::map<std::string, torch::Tensor>& tensors) {
  const auto factor = [&](const std::string& name) {
    const auto whole = tensors.find(name);
    return whole != tensors.end() ? whole->second : at::matmul(tensors.at(name + "_a"), tensors.at(name + "_b"));
  };
  const torch::Tensor w1 = factor("w1"), w2 = factor("w2");
  return kLycorisScale * (test.kind == AdapterKind::kLoha ? w1 * w2 : at::kron(w1, w2));
}

TEST(Lycoris, AdaptersComputeTheirFormulasAndLearn) {
  for (const Case& test : cases()) {
    for (const auto& [dtype, tolerance] : {std::pair{torch::kFloat32, 4e-6}, {torch::kBFloat16, 3e-2}}) {
      torch::manual_seed(4);
      const auto layer = std::make_shared<Linear>(kIn, kOut);
      for (torch::Tensor& parameter : layer->parameters()) {
        parameter.set_data(torch::randn(parameter.sizes()).to(dtype));
      }
      AdapterTensors adapter{"layer", test.kind, test.row_begin, test.row_end, kLycorisScale, {}};
      for (const auto& [role, shape] : test.shapes) adapter.tensors[role] = {role, torch::randn(shape).to(dtype)};
      std::map<std::string, torch::Tensor> own, leaves;
      for (AdapterParameter& each : attach_adapters({{"layer", layer}}, {adapter}, "file")) {
        each.parameter.set_data(each.in_file.values.clone());
        each.parameter.mutable_grad() = torch::zeros_like(each.parameter);
        own[each.in_file.name] = each.parameter;
        leaves[each.in_file.name] = each.in_file.values.to(torch::kFloat64).requires_grad_();
      }
      ASSERT_EQ(own.size(), test.shapes.size());

      const torch::Tensor x = torch::randn({kRows, kIn}).to(dtype), dy = torch::randn({kRows, kOut}).to(dtype);
      const torch::Tensor input = x.to(torch::kFloat64).requires_grad_();
      torch::Tensor expected =
          at::linear(input, layer->weight().dense().to(torch::kFloat64), layer->bias().to(torch::kFloat64));
      const torch::Tensor part = at::linear(input, change_of(test, leaves));
      expected = expected + at::constant_pad_nd(part, {test.row_begin, kOut - test.row_begin - part.size(1)});
      expected.backward(dy.to(torch::kFloat64));

      const torch::NoGradGuard no_grad;
      EXPECT_LT(relative_error(layer->apply(x), expected.detach()), tolerance) << test.name;
      EXPECT_LT(relative_error(layer->backward(dy, x), input.grad()), tolerance) << test.name;
      for (const auto& [role, parameter] : own) {
        EXPECT_LT(relative_error(parameter.grad(), leaves.at(role).grad()), tolerance) << test.name << ": " << role;
      }
      layer->backward(dy, x);
      const auto& [role, parameter] = *own.begin();
      EXPECT_LT(relative_error(parameter.grad(), 2 * leaves.at(role).grad()), tolerance) << test.name;  // they add up

      torch::Tensor merged = layer->weight().dense().to(torch::kFloat32, false, /*copy=*/true);
      merge_adapter(merged, adapter);
      EXPECT_LT(relative_error(at::linear(x.to(torch::kFloat32), merged, layer->bias().to(torch::kFloat32)),
                               expected.detach()),
                3e-6)
          << test.name;
    }
  }
}

}  // namespace
}  // namespace millrace
