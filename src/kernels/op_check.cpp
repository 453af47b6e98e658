#include "kernels/op_check.h"

#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/philox.h"
#include "kernels/philox_fill/philox_fill.h"

namespace millrace {
namespace {

using torch::Tensor;

constexpr uint64_t kOutputGradientSeed = 71;
constexpr uint64_t kDirectionSeed = 72;

}  // namespace

Tensor random_tensor(uint64_t seed, uint64_t id, const std::vector<int64_t>& sizes) {
  const Tensor x = torch::empty(sizes, torch::kFloat32);
  philox_fill_normal_reference(x.view({1, -1}), {random_stream(seed, RandomPurpose::kInit, 0, id)});
  return x.to(torch::kFloat64);
}

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

}  // namespace millrace
