// millrace forward: one forward, and one backward, of any model on tensors from a file.
#include <map>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "command_line.h"
#include "commands.h"
#include "models/adapted_model.h"
#include "models/model_table.h"
#include "models/pass_inputs.h"
#include "nn/device.h"

namespace millrace {
namespace {

struct ForwardArguments {
  std::string model;
  std::string weights, config;
  std::string inputs, outputs;
  std::string lora;
  std::string device = "cpu";
  std::string base_storage = "dense";
  torch::ScalarType dtype = torch::kFloat32;
  bool gradients = false;
  bool help = false;
};

std::vector<std::string> pass_names() {
  std::vector<std::string> names;
  for (const ModelEntry& entry : model_table()) names.insert(names.end(), entry.passes.begin(), entry.passes.end());
  return names;
}

// What each model takes and gives is in the table in docs/forward.md.
ForwardArguments read_forward_arguments(const std::vector<std::string>& args) {
  ForwardArguments result;
  ArgumentParser app{"One forward of a model on tensors from a file, and with --gradients one backward.",
                     "millrace forward"};
  const std::map<std::string, torch::ScalarType> dtypes = {{"fp32", torch::kFloat32}, {"bf16", torch::kBFloat16}};
  app.add_option("model", result.model, "One of " + join(pass_names(), ", "))->required();
  app.add_option("--weights", result.weights,
                 "A safetensors or GGUF file, an index json, or a folder; the naming (BFL, diffusers, torchtitan, "
                 "Hugging Face) "
                 "is found out")
      ->required();
  app.add_option("--inputs", result.inputs, "A safetensors file with the model's inputs")->required();
  app.add_option("--outputs", result.outputs, "The safetensors file to write")->required();
  app.add_option("--config", result.config,
                 "The model's sizes: its config.json, or our names as JSON or TOML. Without it, the config.json in a "
                 "folder of weights, else the tensors' shapes");
  app.add_flag("--gradients", result.gradients,
               "Also write grad.<parameter>, in the weights' naming, and grad.<input>, from the input grad_output "
               "(shaped like the first output)");
  app.add_option("--lora", result.lora,
                 "Adapters to apply unmerged, a file or a folder: only their gradients are written, named as in the "
                 "file");
  app.add_option("--dtype", result.dtype, "Weights and arithmetic in fp32 or bf16")
      ->transform(CLI::CheckedTransformer(dtypes))
      ->default_str("fp32");
  app.add_option("--base-storage", result.base_storage,
                 "How large matrices are stored: dense, fp8, fp8_unscaled, int8, nf4, nf4_torchao or gguf (the blocks "
                 "of a GGUF file). Other than dense they have no gradients")
      ->capture_default_str();
  app.add_option("--device", result.device, "cpu, cuda, cuda:N or auto")->capture_default_str();
  result.help = !parse_command_line(app, args);
  return result;
}

// A damaged or missing file of inputs is bad data, whatever reading files in general calls it.
TensorMap load_inputs(const std::string& path) {
  try {
    return load_tensors(path);
  } catch (const Error& error) {
    throw DataError(error.what());
  }
}

ForwardPass find_pass(const ModelDescription& model, const std::string& name) {
  for (ForwardPass& pass : model.passes()) {
    if (pass.name == name) return pass;
  }
  throw LogicError("a model's row and its passes differ: " + name);
}

torch::Tensor output_gradient(const TensorMap& given, const torch::Tensor& output, const std::string& place) {
  const auto found = given.find("grad_output");
  if (found == given.end() || !found->second.is_floating_point() || found->second.sizes() != output.sizes()) {
    throw DataError("[" + place + ": grad_output] expected floating point shaped like the first output, " +
                    c10::str(output.sizes()) + ", got " +
                    (found == given.end()
                         ? "none"
                         : c10::str(found->second.sizes()) + " " + c10::toString(found->second.scalar_type())));
  }
  return found->second.to(output.device(), output.scalar_type());
}

}  // namespace

int run_forward(const std::vector<std::string>& args) {
  const ForwardArguments arguments = read_forward_arguments(args);
  if (arguments.help) return static_cast<int>(ExitCode::kDone);
  const ModelEntry& entry = find_model_of_pass(arguments.model);
  const torch::Device device = resolve_device(arguments.device);
  const FlatParametersOptions placement = {
      .compute_dtype = arguments.dtype, .device = device, .base_storage = parse_base_storage(arguments.base_storage)};
  const ModelWeights weights(
      entry, arguments.weights,
      arguments.config.empty() ? std::nullopt : std::optional<std::filesystem::path>(arguments.config));
  const ForwardPass pass = find_pass(weights.model(), arguments.model);
  const TensorMap given = load_inputs(arguments.inputs);
  const TensorMap inputs = prepare_inputs(pass, given, arguments.dtype, device, arguments.inputs);
  const std::shared_ptr<torch::nn::Module> module = weights.load(placement);
  std::optional<AttachedAdapters> adapters;
  if (!arguments.lora.empty()) {
    adapters.emplace(weights.model(), *module, arguments.lora,
                     FlatParametersOptions{.compute_dtype = arguments.dtype, .device = device});
  }

  TensorMap outputs;
  if (arguments.gradients) {
    const auto grad_output = [&](const torch::Tensor& output) {
      return output_gradient(given, output, arguments.inputs);
    };
    PassResult result = pass.run_with_gradients(*module, inputs, grad_output);
    outputs = result.outputs;
    const TensorMap trained =
        adapters ? adapters->gradients() : export_weights(result.parameter_gradients, weights.rules());
    for (const auto& [name, gradient] : trained) outputs["grad." + name] = gradient;
    for (const auto& [name, gradient] : result.input_gradients) {
      if (given.at(name).is_floating_point()) outputs["grad." + name] = gradient;
    }
  } else {
    outputs = pass.run(*module, inputs);
  }
  save_tensors(arguments.outputs, outputs);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
