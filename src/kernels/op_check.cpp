#include "kernels/op_check.h"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/philox.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/gate_residual/gate_residual.h"
#include "kernels/gelu/gelu.h"
#include "kernels/norm_modulate/norm_modulate.h"
#include "kernels/philox_fill/philox_fill.h"
#include "kernels/qk_norm_rope/qk_norm_rope.h"
#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rotary/rotary.h"
#include "kernels/swiglu/swiglu.h"

namespace millrace {
namespace {

using torch::Tensor;

// Normal numbers that depend only on (seed, id), without torch's generator.
Tensor random_tensor(uint64_t seed, uint64_t id, const std::vector<int64_t>& sizes) {
  const Tensor x = torch::empty(sizes, torch::kFloat32);
  philox_fill_normal_reference(x.view({1, -1}), {random_stream(seed, RandomPurpose::kInit, 0, id)});
  return x.to(torch::kFloat64);
}

constexpr uint64_t kOutputGradientSeed = 71;
constexpr uint64_t kDirectionSeed = 72;

// Cosine and sine pairs for arbitrary angles, as in a rope table.
std::pair<Tensor, Tensor> rope_table(uint64_t seed, const std::vector<int64_t>& sizes) {
  const Tensor angle = random_tensor(seed, 99, sizes) * 3;
  return {angle.cos().to(torch::kFloat32), angle.sin().to(torch::kFloat32)};
}

OpCase qk_norm_rope_case(uint64_t seed, int64_t batch, int64_t length, int64_t heads, int64_t head_dim, bool bias,
                         bool table_per_sample) {
  const int64_t width = 3 * heads * head_dim;
  const auto [cos, sin] = rope_table(seed, table_per_sample ? std::vector<int64_t>{batch, length, head_dim / 2}
                                                            : std::vector<int64_t>{length, head_dim / 2});
  OpCase op_case;
  op_case.name = bias ? "qk_norm_rope with bias" : "qk_norm_rope";
  // Two columns more than q, k and v need.
  op_case.inputs = {random_tensor(seed, 0, {batch, length, width + 2}), random_tensor(seed, 1, {head_dim}) + 1,
                    random_tensor(seed, 2, {head_dim}) + 1};
  if (bias) op_case.inputs.push_back(random_tensor(seed, 3, {width}));
  const auto with = [=, cos = cos, sin = sin](auto op) {
    return [=](const Tensors& in) -> Tensors {
      const auto [q, k, v] =
          op(in[0], bias ? in[3] : Tensor(), in[1], in[2], cos.to(in[0].device()), sin.to(in[0].device()), heads, 1e-6);
      return {q, k, v};
    };
  };
  op_case.fused = with(qk_norm_rope);
  op_case.reference = with(qk_norm_rope_reference);
  return op_case;
}

OpCase rotary_case(uint64_t seed, int64_t tokens, int64_t heads, int64_t head_dim) {
  const auto [cos, sin] = rope_table(seed, {tokens, head_dim / 2});
  const auto with = [cos = cos, sin = sin](auto op) {
    return [=](const Tensors& in) -> Tensors { return {op(in[0], cos.to(in[0].device()), sin.to(in[0].device()))}; };
  };
  return {"rotary", {random_tensor(seed, 6, {tokens, heads, head_dim})}, with(rotate), with(rotate_reference)};
}

OpCase cross_entropy_case(const Tensor& logits_RV) {
  const Tensor labels_R = at::arange(logits_RV.size(0)).mul_(7).remainder_(logits_RV.size(1));
  const auto with = [=](auto op) {
    return [=](const Tensors& in) -> Tensors { return {op(in[0], labels_R.to(in[0].device()))}; };
  };
  return {"cross_entropy", {logits_RV * 3}, with(cross_entropy), with(cross_entropy_reference)};
}

}  // namespace

Tensors outputs_and_gradients(const TensorFunction& function, const Tensors& inputs, torch::ScalarType type,
                              torch::Device device) {
  Tensors leaves;
  for (const Tensor& input : inputs) {
    leaves.push_back(input.to(type).to(device).detach().clone().requires_grad_(true));
  }
  const Tensors outputs = function(leaves);
  Tensors output_gradients;
  for (size_t i = 0; i < outputs.size(); ++i) {
    output_gradients.push_back(random_tensor(kOutputGradientSeed, i, outputs[i].sizes().vec())
                                   .to(torch::kBFloat16)  // the same numbers whatever the type
                                   .to(outputs[i].scalar_type())
                                   .to(device));
  }
  const Tensors gradients = torch::autograd::grad(outputs, leaves, output_gradients);
  Tensors result;
  for (const Tensors& part : {outputs, gradients}) {
    for (const Tensor& x : part) result.push_back(x.detach().to(torch::kCPU).to(torch::kFloat64));
  }
  return result;
}

double relative_error(const Tensor& got, const Tensor& reference) {
  MILLRACE_CHECK(got.sizes() == reference.sizes());
  const double difference = (got - reference).norm().item<double>();
  const double norm = reference.norm().item<double>();
  return norm > 0 ? difference / norm : difference;
}

KernelCheckResult check_op(const OpCase& op_case, torch::ScalarType type, torch::Device device) {
  Tensors rounded;  // the input of every path
  for (const Tensor& input : op_case.inputs) rounded.push_back(input.to(type).to(torch::kFloat64));
  const Tensors exact = outputs_and_gradients(op_case.reference, rounded, torch::kFloat64, torch::kCPU);
  const Tensors plain = outputs_and_gradients(op_case.reference, rounded, type, device);
  const Tensors fused = outputs_and_gradients(op_case.fused, rounded, type, device);
  KernelCheckResult worst{0, 1};
  for (size_t i = 0; i < exact.size(); ++i) {
    const KernelCheckResult result{relative_error(fused[i], exact[i]),
                                   2 * relative_error(plain[i], exact[i]) + std::numeric_limits<float>::epsilon()};
    if (!(result.error / result.tolerance <= worst.error / worst.tolerance)) worst = result;  // NaN is worst
  }
  return worst;
}

double finite_difference_error(const OpCase& op_case) {
  const Tensors fused = outputs_and_gradients(op_case.fused, op_case.inputs, torch::kFloat32, torch::kCPU);
  const size_t num_outputs = fused.size() - op_case.inputs.size();
  constexpr double kStep = 1e-5;  // the error of a central difference is of the order of its square
  Tensors directions;
  double analytic = 0, gradient_square = 0, direction_square = 0;
  for (size_t i = 0; i < op_case.inputs.size(); ++i) {
    directions.push_back(random_tensor(kDirectionSeed, i, op_case.inputs[i].sizes().vec()));
    const Tensor& gradient = fused[num_outputs + i];
    analytic += (gradient * directions[i]).sum().item<double>();
    gradient_square += gradient.square().sum().item<double>();
    direction_square += directions[i].square().sum().item<double>();
  }
  const auto loss = [&](double step) {
    const torch::NoGradGuard no_grad;
    Tensors inputs;
    for (size_t i = 0; i < op_case.inputs.size(); ++i) {
      inputs.push_back(op_case.inputs[i].to(torch::kFloat32).to(torch::kFloat64) + step * directions[i]);
    }
    const Tensors outputs = op_case.reference(inputs);
    double sum = 0;
    for (size_t i = 0; i < outputs.size(); ++i) {
      const Tensor weight =
          random_tensor(kOutputGradientSeed, i, outputs[i].sizes().vec()).to(torch::kBFloat16).to(torch::kFloat64);
      sum += (outputs[i] * weight).sum().item<double>();
    }
    return sum;
  };
  const double numeric = (loss(kStep) - loss(-kStep)) / (2 * kStep);
  return std::abs(numeric - analytic) / std::sqrt(gradient_square * direction_square);
}

std::vector<OpCase> standard_op_cases(uint64_t seed) {
  constexpr int64_t kBatch = 3, kLength = 37, kDim = 101;  // not divisible by vector widths
  const Tensor x = random_tensor(seed, 0, {kBatch, kLength, kDim}) + 0.5;
  const Tensor y = random_tensor(seed, 1, {kBatch, kLength, kDim});
  const Tensor gate = random_tensor(seed, 2, {kBatch, kDim}), shift = random_tensor(seed, 3, {kBatch, kDim});
  const Tensor scale = random_tensor(seed, 4, {kBatch, kDim}), bias = random_tensor(seed, 5, {kDim});
  return {
      {"norm_modulate",
       {x, shift, scale},
       [](const Tensors& in) -> Tensors { return {norm_modulate(in[0], in[1], in[2])}; },
       [](const Tensors& in) -> Tensors { return {norm_modulate_reference(in[0], in[1], in[2])}; }},
      {"gate_residual",
       {x, y, gate},
       [](const Tensors& in) -> Tensors { return {gate_residual(in[0], in[1], in[2])}; },
       [](const Tensors& in) -> Tensors { return {gate_residual_reference(in[0], in[1], in[2])}; }},
      {"gate_residual with bias",
       {x, y, gate, bias},
       [](const Tensors& in) -> Tensors { return {gate_residual(in[0], in[1], in[2], in[3])}; },
       [](const Tensors& in) -> Tensors { return {gate_residual_reference(in[0], in[1], in[2], in[3])}; }},
      {"gate_residual_norm",
       {x, y, gate, bias, shift, scale},
       [](const Tensors& in) -> Tensors {
         const auto [out, n] = gate_residual_norm(in[0], in[1], in[2], in[3], in[4], in[5]);
         return {out, n};
       },
       [](const Tensors& in) -> Tensors {
         const auto [out, n] = gate_residual_norm_reference(in[0], in[1], in[2], in[3], in[4], in[5]);
         return {out, n};
       }},
      {"gelu",
       {x * 2},
       [](const Tensors& in) -> Tensors { return {gelu_tanh(in[0])}; },
       [](const Tensors& in) -> Tensors { return {gelu_reference(in[0])}; }},
      {"gelu with bias",
       {x * 2, bias},
       [](const Tensors& in) -> Tensors { return {gelu_tanh(in[0], in[1])}; },
       [](const Tensors& in) -> Tensors { return {gelu_reference(in[0], in[1])}; }},
      qk_norm_rope_case(seed, kBatch, kLength, 3, 128, false, false),
      qk_norm_rope_case(seed, kBatch, kLength, 2, 22, true, true),
      {"rms_norm",
       {x, bias + 1},
       [](const Tensors& in) -> Tensors { return {rms_norm(in[0], in[1], 1e-5)}; },
       [](const Tensors& in) -> Tensors { return {rms_norm_reference(in[0], in[1], 1e-5)}; }},
      {"add_rms_norm",
       {x, y, bias + 1},
       [](const Tensors& in) -> Tensors {
         const auto [sum, normed] = add_rms_norm(in[0], in[1], in[2], 1e-5);
         return {sum, normed};
       },
       [](const Tensors& in) -> Tensors {
         const auto [sum, normed] = add_rms_norm_reference(in[0], in[1], in[2], 1e-5);
         return {sum, normed};
       }},
      {"swiglu",
       {x * 2, y},
       [](const Tensors& in) -> Tensors { return {swiglu(in[0], in[1])}; },
       [](const Tensors& in) -> Tensors { return {swiglu_reference(in[0], in[1])}; }},
      rotary_case(seed, kLength, 3, 22),
      cross_entropy_case(y.flatten(0, 1)),
  };
}

}  // namespace millrace
