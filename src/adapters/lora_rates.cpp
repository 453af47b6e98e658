#include "adapters/lora_rates.h"

#include "base/error.h"
#include "base/log.h"
#include "config/optimizer_rules.h"

namespace millrace {

void check_lora_rates(const LoraConfig& config, const OptimizerConfig& optimizer, Problems& problems) {
  if (optimizer.in_backward.value_or(false)) {
    problems.add("optimizer.in_backward", "expected false with adapters, whose gradients are small, got true");
  }
  if (!optimizer_rule(optimizer.name).finds_step_size()) return;
  const auto refuse = [&](const char* option, double factor) {
    if (factor == 1 || factor == 0) return;
    problems.add(option,
                 str("expected 1 or 0 with ", optimizer.name, ", which finds one step size for all parameters, got ",
                     factor, " (try ProdigyPlusScheduleFree)"));
  };
  refuse("lora.loraplus_ratio", config.loraplus_ratio.value_or(1));
  for (const std::string& text : config.lr_patterns) {
    try {
      refuse("lora.lr_patterns", LayerNumbers({text}, "lora.lr_patterns").numbers().front());
    } catch (const ConfigError&) {
      continue;  // check_lora() says what is wrong
    }
  }
}

}  // namespace millrace
