#include "adapters/lora_rates.h"

#include "base/log.h"
#include "config/number_text.h"

namespace millrace {

void check_lora_rates(const LoraConfig& config, const OptimizerConfig& optimizer, Problems& problems) {
  if (optimizer.name != "Prodigy") return;
  const auto refuse = [&](const char* option, double factor) {
    if (factor == 1 || factor == 0) return;
    problems.add(option, str("expected 1 or 0 with Prodigy, which finds one step size for all parameters, got ", factor,
                             " (try ProdigyPlusScheduleFree)"));
  };
  refuse("lora.loraplus_ratio", config.loraplus_ratio.value_or(1));
  for (const std::string& text : config.lr_patterns) {
    const size_t equals = text.rfind('=');
    if (equals == std::string::npos) continue;  // check_lora() says what is wrong
    refuse("lora.lr_patterns", parse_floating_point(std::string_view(text).substr(equals + 1)).value_or(1));
  }
}

}  // namespace millrace
