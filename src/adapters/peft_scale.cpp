#include "adapters/peft_scale.h"

#include <regex>

#include "adapters/peft_config.h"
#include "base/error.h"
#include "base/log.h"

namespace millrace {

PeftScale::PeftScale(nlohmann::ordered_json config, std::string place)
    : config_(std::move(config)), place_(std::move(place)) {
  const auto expect = [&](bool right, const char* key, const char* type) {
    if (!right) throw ModelError(str("[", place_, ": ", key, "] expected ", type, " (try the file that PEFT wrote)"));
  };
  expect(config_.is_object() && config_.contains("lora_alpha") && config_["lora_alpha"].is_number(), "lora_alpha",
         "a number");
  const nlohmann::ordered_json patterns = config_.value("alpha_pattern", nlohmann::ordered_json());
  expect(patterns.is_null() || patterns.is_object(), "alpha_pattern", "a table of numbers");
  for (const auto& [pattern, alpha] : patterns.items())
    expect(alpha.is_number(), "alpha_pattern", "a table of numbers");
  const nlohmann::ordered_json rslora = config_.value("use_rslora", nlohmann::ordered_json(false));
  expect(rslora.is_boolean() || rslora.is_null(), "use_rslora", "true or false");
}

double PeftScale::of(const std::string& module, int64_t rank) const {
  double alpha = config_["lora_alpha"].get<double>();
  const nlohmann::ordered_json patterns = config_.value("alpha_pattern", nlohmann::ordered_json::object());
  for (const auto& [pattern, value] : patterns.items()) {
    try {
      if (fits_peft_pattern(pattern, module)) {
        alpha = value.get<double>();
        break;
      }
    } catch (const std::regex_error&) {
      throw ModelError(str("[", place_, ": alpha_pattern] expected regular expressions, got \"", pattern, "\""));
    }
  }
  const bool rslora = config_.contains("use_rslora") && config_["use_rslora"] == true;
  return peft_scale(alpha, rank, rslora);
}

}  // namespace millrace
