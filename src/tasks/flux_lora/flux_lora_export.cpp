#include "tasks/flux_lora/flux_lora_export.h"

#include <map>
#include <string>

#include "adapters/kohya_names.h"
#include "base/error.h"
#include "base/text.h"
#include "diffusion/flux_run_config.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

void check_kohya_output(const std::filesystem::path& output) {
  if (ends_with(output.string(), ".safetensors")) return;
  throw ConfigError("[" + output.string() + "] expected a file ending in .safetensors for LoRA, got another name");
}

size_t write_kohya_file(const RunConfig& config, const OpenRunWeights& run, const std::filesystem::path& output,
                        const std::optional<torch::ScalarType>& dtype) {
  const LoraConfig& lora = *as_flux(config).lora();
  const auto converted = [&](const torch::Tensor& tensor) { return dtype ? tensor.to(*dtype) : tensor; };
  TensorMap shapes, alphas = kohya_alphas(run.shapes, lora);
  std::map<std::string, std::string> ours;
  for (const auto& [name, tensor] : run.shapes) {
    const std::string theirs = kohya_name(name);
    ours[theirs] = name;
    shapes[theirs] = converted(tensor);
  }
  for (const auto& [name, alpha] : alphas) shapes[name] = alpha;
  save_tensors(output, shapes, kohya_network_metadata(lora, "flux1"), [&](const std::string& name) {
    const auto found = ours.find(name);
    return found == ours.end() ? alphas.at(name) : converted(run.read(found->second));
  });
  return alphas.size();
}

}  // namespace

WriteAdapters flux_adapter_writer() {
  return {"kohya", check_kohya_output, write_kohya_file};
}

}  // namespace millrace
