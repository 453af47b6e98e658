// One block of each model at its real width: forward and backward on the device and on the CPU.
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/philox.h"
#include "kernels/philox_fill/philox_fill.h"
#include "models/model_table.h"
#include "probe.h"

namespace millrace {
namespace {

using nlohmann::json;
using torch::Tensor;

struct Case {
  const char* pass;
  json config;                             // as its config.json
  std::map<std::string, int64_t> letters;  // of the shapes of its inputs
  int64_t vocab = 0;
};

std::vector<Case> cases(bool tiny) {
  if (tiny) {
    const json tiny_autoencoder = {
        {"block_out_channels", {16, 32}}, {"layers_per_block", 1}, {"norm_num_groups", 8}, {"latent_channels", 4}};
    return {{"flux",
             {{"hidden_size", 64},
              {"num_heads", 2},
              {"depth", 1},
              {"depth_single_blocks", 1},
              {"context_in_dim", 24},
              {"vec_in_dim", 12},
              {"axes_dim", {4, 14, 14}}},
             {{"Li", 6}, {"Lt", 4}}},
            {"t5",
             {{"model_type", "t5"},
              {"vocab_size", 50},
              {"d_model", 32},
              {"d_kv", 8},
              {"d_ff", 48},
              {"num_layers", 1},
              {"num_heads", 4},
              {"feed_forward_proj", "gated-gelu"}},
             {{"L", 7}},
             50},
            {"llama",
             {{"model_type", "llama"},
              {"vocab_size", 50},
              {"hidden_size", 32},
              {"intermediate_size", 48},
              {"num_hidden_layers", 1},
              {"num_attention_heads", 4},
              {"num_key_value_heads", 2},
              {"rms_norm_eps", 1e-5}},
             {{"L", 9}},
             50},
            {"clip",
             {{"hidden_size", 32},
              {"intermediate_size", 64},
              {"num_attention_heads", 2},
              {"num_hidden_layers", 1},
              {"vocab_size", 50},
              {"eos_token_id", 49}},
             {{"L", 7}},
             50},
            {"autoencoder-encode", tiny_autoencoder, {{"H", 16}, {"W", 24}}},
            {"autoencoder-decode", tiny_autoencoder, {{"h", 8}, {"w", 12}}}};
  }
  return {{"flux", {{"depth", 1}, {"depth_single_blocks", 1}}, {{"Li", 64}, {"Lt", 32}}},
          {"llama",
           {{"model_type", "llama"},
            {"vocab_size", 2048},
            {"hidden_size", 4096},
            {"intermediate_size", 14336},
            {"num_hidden_layers", 1},
            {"num_attention_heads", 32},
            {"num_key_value_heads", 8},
            {"rms_norm_eps", 1e-5},
            {"rope_theta", 500000.0}},
           {{"L", 96}},
           2048},
          {"t5",
           {{"model_type", "t5"},
            {"vocab_size", 2048},
            {"d_model", 4096},
            {"d_kv", 64},
            {"d_ff", 10240},
            {"num_layers", 1},
            {"num_heads", 64},
            {"feed_forward_proj", "gated-gelu"}},
           {{"L", 96}},
           2048},
          {"clip", {{"num_hidden_layers", 1}, {"vocab_size", 2048}, {"eos_token_id", 2047}}, {{"L", 77}}, 2048},
          {"autoencoder-encode", json::object(), {{"H", 32}, {"W", 48}}},
          {"autoencoder-decode", json::object(), {{"h", 4}, {"w", 6}}}};
}

// The same numbers on every device: small matrices, norms near one.
void fill(torch::nn::Module& module) {
  uint64_t id = 100;
  for (auto& item : module.named_parameters()) {
    Tensor values = torch::empty(item.value().sizes(), torch::kFloat32);
    philox_fill_normal(values.view({1, -1}), {random_stream(9, RandomPurpose::kInit, 0, ++id)});
    const bool is_scale = item.value().dim() == 1 && !item.key().ends_with("bias");
    item.value().data().copy_(is_scale ? values.mul_(0.1).add_(1) : values.mul_(0.03));
  }
}

TensorMap inputs_of(const ForwardPass& pass, const Case& of, torch::ScalarType dtype, torch::Device device) {
  TensorMap inputs;
  uint64_t id = 0;
  for (const InputSpec& spec : pass.inputs) {
    ++id;
    if (spec.optional || spec.name == "guidance") continue;
    std::vector<int64_t> sizes;
    for (const std::string& letter : spec.shape) {
      if (letter == "B") {
        sizes.push_back(2);
      } else if (letter.find_first_not_of("0123456789") == std::string::npos) {
        sizes.push_back(std::stoll(letter));
      } else {
        sizes.push_back(of.letters.at(letter));
      }
    }
    ProbeOptions on_cpu;
    Tensor x = noise(sizes, torch::kFloat32, on_cpu, id);
    if (spec.kind == InputSpec::Kind::kTokens) {
      x = (x.abs() * 1e4).to(torch::kInt64).remainder(of.vocab);
    } else if (spec.kind == InputSpec::Kind::kNumbers) {
      x = spec.shape.size() == 1 ? x.sigmoid() : at::round(x * 4);  // times; positions
    } else {
      x = x.to(dtype);
    }
    inputs[spec.name] = x.to(device);
  }
  return inputs;
}

// The output and all gradients, each as one vector.
std::map<std::string, Tensor> run(const Case& of, torch::ScalarType dtype, torch::Device device,
                                  torch::ScalarType rounded) {
  const ModelEntry& entry = find_model_of_pass(of.pass);
  const std::unique_ptr<ModelDescription> model = entry.from_json(of.config, of.pass);
  const std::shared_ptr<torch::nn::Module> module = model->build({.compute_dtype = dtype, .device = device});
  fill(*module);
  if (rounded != dtype) {  // the exact run of rounded weights
    for (auto& item : module->named_parameters()) item.value().data().copy_(item.value().data().to(rounded));
  }
  for (const ForwardPass& pass : model->passes()) {
    if (pass.name != of.pass) continue;
    TensorMap inputs = inputs_of(pass, of, rounded, device);
    for (const InputSpec& spec : pass.inputs) {
      if (spec.kind == InputSpec::Kind::kFeatures && inputs.contains(spec.name))
        inputs[spec.name] = inputs[spec.name].to(dtype);
    }
    const PassResult result = pass.run_with_gradients(*module, inputs, [&](const Tensor& output) {
      ProbeOptions on_cpu;
      return noise(output.sizes().vec(), torch::kFloat32, on_cpu, 77).to(rounded).to(device, output.scalar_type());
    });
    const auto flat = [](const TensorMap& tensors) {
      std::vector<Tensor> parts;
      for (const auto& [name, tensor] : tensors)
        parts.push_back(tensor.detach().to(torch::kCPU, torch::kFloat32).flatten());
      return at::cat(parts);
    };
    return {{"output", flat({{"", result.outputs.at(pass.outputs.at(0))}})},
            {"gradients", flat(result.parameter_gradients)}};
  }
  throw LogicError(str("no pass ", of.pass));
}

}  // namespace

void probe_models(const ProbeOptions& options) {
  const torch::AutoGradMode grad(true);
  for (const Case& of : cases(options.tiny)) {
    for (const torch::ScalarType dtype : {torch::kFloat32, torch::kBFloat16}) {
      const bool is_fp32 = dtype == torch::kFloat32;
      const auto exact = run(of, torch::kFloat32, torch::kCPU, dtype);
      const auto got = run(of, dtype, options.device, dtype);
      // In fp32 both are equally exact, and their sums differ in order; in bf16 the CPU's error in bf16 is the measure.
      const auto plain = is_fp32 ? exact : run(of, dtype, torch::kCPU, dtype);
      for (const auto& [name, tensor] : got) {
        const double error = error_of(tensor, exact.at(name));
        const double allowed = is_fp32 ? 1e-5 : 2 * error_of(plain.at(name), exact.at(name));
        print_result({{"name", str(of.pass, " ", is_fp32 ? "fp32" : "bf16", " ", name)},
                      {"error", error},
                      {"allowed", allowed},
                      {"passed", error <= allowed}});
      }
    }
  }
}

}  // namespace millrace
