#include "adapters/peft_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/regular_expression.h"
#include "base/text.h"
#include "formats/json.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{16} << 20;
constexpr size_t kMaxPatternSize = 1000;

nlohmann::ordered_json read(const std::filesystem::path& path) {
  std::string content;
  try {
    content = read_file(path, kMaxFileBytes);
  } catch (const Error& error) {
    throw ConfigError(error.what());
  }
  return parse_ordered_json<ConfigError>(content, path.string());
}

class Reader {
 public:
  Reader(nlohmann::ordered_json table, std::string place) : place_(std::move(place)), json_(std::move(table)) {
    if (!json_.is_object()) throw ConfigError("[" + place_ + "] expected an object of names and values, got another");
  }

  bool boolean(const char* key) const {
    if (!has(key)) return false;
    if (!json_.at(key).is_boolean()) fail(key, "true or false");
    return json_.at(key).get<bool>();
  }
  std::string text(const char* key, const std::string& fallback) const {
    if (!has(key)) return fallback;
    if (!json_.at(key).is_string()) fail(key, "text");
    return json_.at(key).get<std::string>();
  }
  int64_t rank(const char* key, const nlohmann::ordered_json& value) const {
    if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > (1 << 24)) {
      fail(key, "a whole number from 1");
    }
    return value.get<int64_t>();
  }
  double number(const char* key, const nlohmann::ordered_json& value) const {
    if (!value.is_number() || !std::isfinite(value.get<double>())) fail(key, "a number");
    return value.get<double>();
  }
  template <typename Value, typename Read>
  std::vector<std::pair<std::string, Value>> pattern(const char* key, Read read_value) const {
    std::vector<std::pair<std::string, Value>> result;
    if (!has(key)) return result;
    if (!json_.at(key).is_object()) fail(key, "an object of patterns and numbers");
    for (const auto& item : json_.at(key).items()) {
      if (item.key().size() > kMaxPatternSize) fail(key, "shorter patterns");
      try {
        (void)RegularExpression(item.key());
      } catch (const ConfigError&) {
        fail(key, "regular expressions");
      }
      result.emplace_back(item.key(), read_value(key, item.value()));
    }
    return result;
  }

  // Only this value, where the key is there.
  void must_be_empty(const char* key, const std::string& meaning) const {
    if (has(key) && !json_.at(key).empty()) fail(key, meaning);
  }
  bool has(const char* key) const { return json_.contains(key) && !json_.at(key).is_null(); }
  const nlohmann::ordered_json& at(const char* key) const { return json_.at(key); }
  const std::string& place() const { return place_; }
  [[noreturn]] void fail(const char* key, const std::string& expected) const {
    const std::string got = json_.at(key).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).substr(0, 100);
    throw ModelError("[" + place_ + ": " + key + "] expected " + expected + ", got " + got);
  }

 private:
  std::string place_;
  nlohmann::ordered_json json_;
};

template <typename Value>
Value value_of(const std::vector<std::pair<std::string, Value>>& pattern, const std::string& module, Value fallback) {
  for (const auto& [key, value] : pattern) {
    if (fits_peft_pattern(key, module)) return value;
  }
  return fallback;
}

}  // namespace

bool fits_peft_pattern(const std::string& pattern, const std::string& module) {
  return RegularExpression("(.*\\.)?(" + pattern + ")").matches(module);
}

int64_t PeftConfig::rank_of(const std::string& module) const {
  return value_of(rank_pattern, module, rank);
}

double PeftConfig::scale_of(const std::string& module, int64_t own_rank) const {
  const auto divisor = static_cast<double>(own_rank);
  return value_of(alpha_pattern, module, alpha) / (is_rslora ? std::sqrt(divisor) : divisor);
}

PeftConfig read_peft_config(const std::filesystem::path& path) {
  return parse_peft_config(read(path), path.string());
}

// Ways to start that take the first adapter out of the base model's weights. Unless PEFT has converted them, such
// adapters belong to what is left of the weights, which only PEFT computes again.
void check_initialization(const Reader& reader) {
  if (!reader.has("init_lora_weights") || !reader.at("init_lora_weights").is_string()) return;
  const std::string way = to_lower(reader.text("init_lora_weights", ""));
  for (const char* changes_base : {"pissa", "corda", "olora", "loftq", "lora_ga"}) {
    if (!starts_with(way, changes_base)) continue;
    reader.fail("init_lora_weights",
                "adapters of the base model's own weights, which this way of starting has changed (try PEFT's "
                "save_pretrained with path_initial_model_for_weight_conversion)");
  }
}

AdapterKind kind_of(const Reader& reader) {
  const std::string type = reader.text("peft_type", "LORA");
  if (type == "LOHA") return AdapterKind::kLoha;
  if (type == "LOKR") return AdapterKind::kLokr;
  if (type != "LORA") reader.fail("peft_type", "LORA, LOHA or LOKR");
  return reader.boolean("use_dora") ? AdapterKind::kDora : AdapterKind::kLora;
}

PeftConfig parse_peft_config(const nlohmann::ordered_json& table, const std::string& place) {
  const Reader reader(table, place);
  const AdapterKind kind = kind_of(reader);
  if (reader.text("bias", "none") != "none") reader.fail("bias", "none: no trained biases");
  if (reader.boolean("fan_in_fan_out")) reader.fail("fan_in_fan_out", "false");
  if (reader.boolean("lora_bias")) reader.fail("lora_bias", "false");
  reader.must_be_empty("modules_to_save", "no modules that are trained whole");
  reader.must_be_empty("layer_replication", "no repeated layers");
  reader.must_be_empty("trainable_token_indices", "no trained tokens");
  reader.must_be_empty("target_parameters", "adapters of linear layers alone");
  reader.must_be_empty("alora_invocation_tokens", "adapters that work on every token");
  for (const char* variant : {"arrow_config", "kasa_config", "use_bdlora"}) {
    reader.must_be_empty(variant, "LoRA or DoRA");
  }
  if (reader.boolean("use_qalora")) reader.fail("use_qalora", "false");
  check_initialization(reader);
  PeftConfig config;
  config.place = reader.place();
  if (reader.has("r")) config.rank = reader.rank("r", reader.at("r"));
  config.kind = kind;
  const bool is_lora = kind == AdapterKind::kLora || kind == AdapterKind::kDora;
  const char* alpha = is_lora ? "lora_alpha" : "alpha";
  if (reader.has(alpha)) config.alpha = reader.number(alpha, reader.at(alpha));
  config.is_rslora = reader.boolean("use_rslora");
  config.rank_pattern = reader.pattern<int64_t>(
      "rank_pattern", [&](const char* key, const nlohmann::ordered_json& value) { return reader.rank(key, value); });
  config.alpha_pattern = reader.pattern<double>(
      "alpha_pattern", [&](const char* key, const nlohmann::ordered_json& value) { return reader.number(key, value); });
  return config;
}

}  // namespace millrace
