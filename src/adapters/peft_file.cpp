#include "adapters/peft_file.h"

#include <array>
#include <optional>

#include "adapters/peft_config.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/weight_store.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

constexpr const char* kPrefix = "base_model.model.";

struct Suffix {
  const char* text;
  const char* role;
};
constexpr std::array kSuffixes = std::to_array<Suffix>({{".lora_A.weight", "down"},
                                                        {".lora_B.weight", "up"},
                                                        {".lora_magnitude_vector", "magnitude"},
                                                        {".lora_magnitude_vector.weight", "magnitude"}});

struct Name {
  std::string module, role;
};

// Module and role of a tensor of an adapter; nothing for a weight of the base model.
std::optional<Name> parse_name(const std::string& name, const std::string& place) {
  const bool has_prefix = starts_with(name, kPrefix);
  for (const Suffix& suffix : kSuffixes) {
    const std::string_view end = suffix.text;
    if (!has_prefix || !ends_with(name, end)) continue;
    const size_t begin = std::string_view(kPrefix).size();
    if (name.size() <= begin + end.size()) continue;
    return Name{name.substr(begin, name.size() - begin - end.size()), suffix.role};
  }
  if (has_prefix && name.find(".base_layer.") != std::string::npos) return std::nullopt;
  throw ModelError("[" + place + ": " + name + "] expected " + kPrefix +
                   "<module>.lora_A.weight, .lora_B.weight or .lora_magnitude_vector, got another tensor");
}

void check_adapter(const AdapterTensors& adapter, const PeftConfig& config, const std::string& place) {
  const std::string at = "[" + place + ": " + adapter.module + "] expected ";
  for (const char* role : {"down", "up"}) {
    if (adapter.tensors.count(role) == 0) throw ModelError(at + "lora_A and lora_B, got one of them");
  }
  const bool has_magnitude = adapter.tensors.count("magnitude") != 0;
  if (has_magnitude != config.is_dora) {
    throw ModelError(
        at +
        (config.is_dora ? "lora_magnitude_vector, as use_dora says" : "no lora_magnitude_vector without use_dora") +
        ", got " + (has_magnitude ? "one" : "none"));
  }
  const torch::Tensor& down = adapter.tensors.at("down").values;
  const int64_t rank = config.rank_of(adapter.module);
  if (down.dim() != 2 || down.size(0) != rank) {
    throw ModelError("[" + place + ": " + adapter.tensors.at("down").name + "] expected the rank " +
                     std::to_string(rank) + " that " + config.place + " says, got the shape " + c10::str(down.sizes()));
  }
}

}  // namespace

std::vector<AdapterTensors> read_peft_file(const std::filesystem::path& path) {
  std::filesystem::path file = path;
  if (std::filesystem::is_directory(path)) file /= "adapter_model.safetensors";
  const WeightStore store(file);
  const PeftConfig config = read_peft_config(file.parent_path() / "adapter_config.json");
  const std::string place = file.string();

  std::map<std::string, AdapterTensors> by_module;
  for (const TensorView& view : store.tensors()) {
    const std::optional<Name> name = parse_name(view.name, place);
    if (!name) {
      log_info(place, ": passes over ", view.name, ", a weight of the base model");
      continue;
    }
    AdapterTensors& adapter = by_module[name->module];
    adapter.module = name->module;
    const FileTensor tensor = {view.name, to_tensor(view, store.keep_alive())};
    if (!adapter.tensors.emplace(name->role, tensor).second) {
      throw ModelError("[" + place + ": " + view.name + "] expected one tensor for a part of an adapter, got two");
    }
  }
  if (by_module.empty()) throw ModelError("[" + place + "] expected tensors of adapters, got none");
  std::vector<AdapterTensors> adapters;
  for (auto& [module, adapter] : by_module) {
    check_adapter(adapter, config, place);
    adapter.kind = config.is_dora ? AdapterKind::kDora : AdapterKind::kLora;
    adapter.scale = config.scale_of(module);
    adapters.push_back(std::move(adapter));
  }
  return adapters;
}

}  // namespace millrace
