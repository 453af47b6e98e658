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

// The tensors that a kind has, for messages.
const char* tensors_of(AdapterKind kind) {
  switch (kind) {
    case AdapterKind::kLora:
      return "lora_A and lora_B without lora_magnitude_vector";
    case AdapterKind::kDora:
      return "lora_magnitude_vector beside lora_A and lora_B";
    case AdapterKind::kLoha:
      return "hada_w1_a, hada_w1_b, hada_w2_a and hada_w2_b";
    case AdapterKind::kLokr:
      break;
  }
  return "lokr_w1 and lokr_w2";
}

// kind and rank are those that the configuration says.
void check_adapter(const AdapterTensors& adapter, const PeftConfig& config, const std::string& place) {
  if (adapter.kind != config.kind) {
    throw ModelError(str("[", place, ": ", adapter.module, "] expected ", tensors_of(config.kind), ", as ",
                         config.place, " says, got ", tensors_of(adapter.kind)));
  }
  const int64_t rank = config.rank_of(adapter.module), own = sizes_of(adapter).rank;
  if (own != rank && own > 0) {
    const FileTensor& tensor = adapter.tensors.begin()->second;
    throw ModelError(str("[", place, ": ", tensor.name, "] expected the rank ", rank, " that ", config.place,
                         " says, got the rank ", own));
  }
}

}  // namespace

std::filesystem::path peft_weights_of(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? path / "adapter_model.safetensors" : path;
}

std::vector<AdapterTensors> read_peft_file(const std::filesystem::path& path) {
  const std::filesystem::path file = peft_weights_of(path);
  const WeightStore store(file);
  const PeftConfig config = read_peft_config(file.parent_path() / "adapter_config.json");
  const std::string place = file.string();
  std::vector<AdapterTensors> adapters = read_adapters(store);
  for (AdapterTensors& adapter : adapters) {
    if (!starts_with(adapter.module, kPrefix)) {
      throw ModelError("[" + place + ": " + adapter.tensors.begin()->second.name + "] expected " +
                       std::string(kPrefix) +
                       "<module> before lora_A.weight, lora_B.weight, lora_magnitude_vector, hada_* or lokr_*, got "
                       "another name");
    }
    adapter.module = adapter.module.substr(kPrefix.size());
    check_adapter(adapter, config, place);
  }
  return adapters;
}

}  // namespace millrace
