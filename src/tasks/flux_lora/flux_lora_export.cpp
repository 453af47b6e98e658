#include "tasks/flux_lora/flux_lora_export.h"

#include "adapters/configured_adapter.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "diffusion/flux_run_config.h"
#include "diffusion/lora_result.h"
#include "models/flux/lora_convert.h"

namespace millrace {
namespace {

flux::LoraNaming naming_of(const std::string& naming) {
  return naming.empty() ? flux::LoraNaming::kKohya : flux::parse_lora_naming(naming);
}

void check_lora_output(const std::filesystem::path& output, const std::string& naming) {
  if (naming_of(naming) != flux::LoraNaming::kKohya || ends_with(output.string(), ".safetensors")) return;
  throw ConfigError("[" + output.string() + "] expected a file ending in .safetensors for LoRA, got another name");
}

std::string write_run_lora(const RunConfig& config, const OpenRunWeights& run, const std::filesystem::path& output,
                           const std::string& naming, const std::optional<torch::ScalarType>& dtype) {
  TensorMap ours;
  for (const auto& [name, shape] : run.shapes) ours[name] = run.read(name);
  const std::vector<AdapterTensors> adapters = configured_adapters(*as_flux(config).lora(), ours);
  const flux::FluxConfig sizes = flux::config_from_adapters(adapters);
  const flux::LoraParts parts = naming_of(naming) == flux::LoraNaming::kKohya
                                    ? kohya_parts(adapters, as_flux(config), sizes)
                                    : flux::sort_run_adapters(adapters, sizes);
  const size_t tensors = flux::write_lora(parts, sizes, {output, naming_of(naming), dtype, {}});
  return str(output.string(), ": ", tensors, " tensors of a LoRA");
}

}  // namespace

WriteAdapters flux_adapter_writer() {
  return {check_lora_output, write_run_lora};
}

}  // namespace millrace
