// The factor on an adapter's product, as PEFT's configuration says it: lora_alpha / r, for modules that a pattern names
// another alpha, and with rslora over the root of the rank. No torch.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace millrace {

class PeftScale {
 public:
  // config: an adapter_config.json. Throws ModelError for what is missing or of another type.
  PeftScale(nlohmann::ordered_json config, std::string place);

  // module: its name below the model ("transformer_blocks.0.attn.to_q"). rank: of its tensors. A pattern is a regular
  // expression that fits the end of a name, from a dot or the start on; the first that fits counts.
  double of(const std::string& module, int64_t rank) const;

 private:
  nlohmann::ordered_json config_;
  std::string place_;
};

}  // namespace millrace
