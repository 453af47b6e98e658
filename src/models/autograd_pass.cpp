#include "base/error.h"
#include "models/model_table.h"

namespace millrace {
namespace {

using Run = TensorMap (*)(torch::nn::Module&, const TensorMap&);

torch::Tensor gradient_or_zeros(const torch::Tensor& tensor) {
  return tensor.grad().defined() ? tensor.grad() : torch::zeros_like(tensor);
}

PassResult run_with_autograd(Run run, const std::string& first_output, torch::nn::Module& module,
                             const TensorMap& inputs, const OutputGradient& grad_output) {
  torch::AutoGradMode grad_mode(true);
  TensorMap leaves;
  for (const auto& [name, input] : inputs) {
    leaves[name] = input.detach().clone().set_requires_grad(input.is_floating_point());
  }
  for (torch::Tensor& parameter : module.parameters()) {
    parameter.mutable_grad() = torch::Tensor();
    parameter.set_requires_grad(true);
  }
  PassResult result;
  result.outputs = run(module, leaves);
  const torch::Tensor& output = result.outputs.at(first_output);
  output.backward(grad_output(output));
  for (auto& [name, tensor] : result.outputs) tensor = tensor.detach();
  for (const auto& [name, leaf] : leaves) {
    if (leaf.is_floating_point()) result.input_gradients[name] = gradient_or_zeros(leaf);
  }
  for (const auto& item : module.named_parameters()) {
    result.parameter_gradients[item.key()] = gradient_or_zeros(item.value());
  }
  return result;
}

}  // namespace

ForwardPass autograd_pass(std::string name, std::vector<InputSpec> inputs, std::vector<std::string> outputs, Run run) {
  const std::string first = outputs.at(0);
  return {std::move(name), std::move(inputs), std::move(outputs),
          [run](torch::nn::Module& module, const TensorMap& tensors) {
            torch::NoGradGuard no_grad;
            return run(module, tensors);
          },
          [run, first](torch::nn::Module& module, const TensorMap& tensors, const OutputGradient& grad_output) {
            return run_with_autograd(run, first, module, tensors, grad_output);
          }};
}

}  // namespace millrace
