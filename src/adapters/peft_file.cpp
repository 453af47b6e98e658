#include "adapters/peft_file.h"

#include "adapters/peft_config.h"
#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/safetensors.h"

namespace millrace {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";

// kind and rank are those that the configuration says.
void check_adapter(const AdapterTensors& adapter, const PeftConfig& config, const std::string& place) {
  const std::string at = "[" + place + ": " + adapter.module + "] expected ";
  const AdapterKind kind = config.is_dora ? AdapterKind::kDora : AdapterKind::kLora;
  if (adapter.kind != kind) {
    const bool has_magnitude = adapter.kind == AdapterKind::kDora;
    throw ModelError(
        at +
        (config.is_dora ? "lora_magnitude_vector, as use_dora says" : "no lora_magnitude_vector without use_dora") +
        ", got " + (has_magnitude ? "one" : "none"));
  }
  const FileTensor& down = adapter.tensors.at("down");
  const int64_t rank = config.rank_of(adapter.module);
  if (down.values.size(0) != rank) {
    throw ModelError(str("[", place, ": ", down.name, "] expected the rank ", rank, " that ", config.place,
                         " says, got the shape ", shape_text(down.values.sizes())));
  }
}

}  // namespace

std::vector<AdapterTensors> read_peft_file(const std::filesystem::path& path) {
  std::filesystem::path file = path;
  if (std::filesystem::is_directory(path)) file /= "adapter_model.safetensors";
  const WeightStore store(file);
  const PeftConfig config = read_peft_config(file.parent_path() / "adapter_config.json");
  const std::string place = file.string();
  std::vector<AdapterTensors> adapters = read_adapters(store);
  for (AdapterTensors& adapter : adapters) {
    if (!starts_with(adapter.module, kPrefix)) {
      throw ModelError("[" + place + ": " + adapter.tensors.begin()->second.name + "] expected " +
                       std::string(kPrefix) +
                       "<module>.lora_A.weight, .lora_B.weight or .lora_magnitude_vector, got another tensor");
    }
    adapter.module = adapter.module.substr(kPrefix.size());
    check_adapter(adapter, config, place);
  }
  return adapters;
}

}  // namespace millrace
