// LoHa and LoKr against what autograd makes of their formulas in fp64, against the merged weight, and against training
// by the package lycoris-lora (tests/golden/flux_lora/lycoris).
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "adapters/adapter_test_support.h"
#include "adapters/attach_adapters.h"
#include "adapters/merge_adapter.h"
#include "adapters/read_adapters.h"
#include "base/text.h"
#include "nn/tensor_io.h"

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

// One step of AdamW on a parameter, with its gradient; number: from 1.
class AdamW {
 public:
  void step(torch::Tensor parameter, int number) {
    constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kRate = 1e-2, kDecay = 0.01, kEps = 1e-8;
    const torch::Tensor gradient = parameter.grad();
    if (!m_.defined()) m_ = torch::zeros_like(parameter), v_ = torch::zeros_like(parameter);
    m_.mul_(kBeta1).add_(gradient, 1 - kBeta1);
    v_.mul_(kBeta2).addcmul_(gradient, gradient, 1 - kBeta2);
    const torch::Tensor root = (v_ / (1 - std::pow(kBeta2, number))).sqrt_().add_(kEps);
    parameter.mul_(1 - kRate * kDecay).addcdiv_(m_, root, -kRate / (1 - std::pow(kBeta1, number)));
    gradient.zero_();
  }

 private:
  torch::Tensor m_, v_;
};

class LycorisPackage : public testing::Test {
 protected:
  const torch::Tensor& value(const std::string& name) const { return golden_.at(name); }

  // The module of a case as its package writes it, through a file.
  AdapterTensors module_of(const std::string& name) const {
    TensorMap file;
    for (const auto& [key, tensor] : golden_) {
      const std::string prefix = "start." + name + ".";
      if (starts_with(key, prefix)) file["layer." + key.substr(prefix.size())] = tensor;
    }
    const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / (name + ".safetensors");
    save_tensors(path, file);
    std::vector<AdapterTensors> adapters = read_adapters(WeightStore(path));
    std::filesystem::remove(path);
    return std::move(adapters.at(0));
  }

 private:
  TensorMap golden_ = load_tensors(MILLRACE_GOLDEN "/flux_lora/lycoris/steps.safetensors");
};

TEST_F(LycorisPackage, MakesTheSameWeight) {
  for (const char* name : {"lora", "dora", "loha", "lokr_whole", "lokr_thin", "lokr_both"}) {
    torch::Tensor weight = value("weight").clone();
    merge_adapter(weight, module_of(name));
    EXPECT_LT(relative_error(weight, value(std::string("merged.") + name)), 1e-6) << name;
  }
}

TEST_F(LycorisPackage, TakesTheSameSteps) {
  for (const std::string name : {"lora", "loha", "lokr_whole", "lokr_thin", "lokr_both"}) {
    const auto layer = std::make_shared<Linear>(kIn, kOut);
    layer->weight().dense().set_data(value("weight").clone());
    torch::Tensor bias = layer->bias();
    bias.set_data(value("bias").clone());
    std::vector<AdapterParameter> parameters = attach_adapters({{"layer", layer}}, {module_of(name)}, "golden");
    for (AdapterParameter& each : parameters) {
      each.parameter.set_data(each.in_file.values.clone());
      each.parameter.mutable_grad() = torch::zeros_like(each.parameter);
    }
    const torch::NoGradGuard no_grad;
    std::vector<AdamW> optimizer(parameters.size());
    for (int step = 1; step <= 4; ++step) {
      const torch::Tensor error = layer->apply(value("x")) - value("target");
      EXPECT_NEAR(error.square().mean().item<double>(), value("losses." + name)[step - 1].item<double>(), 1e-5) << name;
      layer->backward(error * (2.0 / static_cast<double>(error.numel())), value("x"));
      for (size_t i = 0; i < parameters.size(); ++i) optimizer[i].step(parameters[i].parameter, step);
    }
    for (const AdapterParameter& each : parameters) {
      const std::string key = each.in_file.name.substr(std::string("layer.").size());
      EXPECT_LT(relative_error(each.parameter, value("end." + name + "." + key)), 1e-5) << name << ": " << key;
    }
  }
}

}  // namespace
}  // namespace millrace
