#include "adapters/lora_options.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "adapters/lora_metadata_keys.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

std::optional<double> parse_number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

// The numbers of patterns are read, and an allowed one of each.
template <typename IsAllowed>
void check_patterns(const std::vector<std::string>& patterns, const std::string& option, const char* expected,
                    const IsAllowed& is_allowed, Problems& problems) {
  for (const std::string& text : patterns) {
    try {
      if (is_allowed(LayerNumbers({text}, option).numbers().front())) continue;
      problems.add(option, str("expected ", expected, ", got \"", text, "\""));
    } catch (const ConfigError& error) {
      problems.add_line(error.what());
    }
  }
}

// Options that only some kinds read.
void check_kind(const LoraConfig& config, Problems& problems) {
  const std::string given = str(", got kind = \"", choice_text(config.kind), "\"");
  const bool is_lora = config.kind == AdapterKind::kLora, has_up = is_lora || config.kind == AdapterKind::kDora;
  const auto expect = [&](bool allowed, const char* name, const char* kinds) {
    if (!allowed) problems.add(str("lora.", name), str("expected kind ", kinds, " with it", given));
  };
  expect(is_lora || config.dropout == 0, "dropout", "lora");
  expect(is_lora || config.rank_dropout == 0, "rank_dropout", "lora");
  expect(is_lora || config.module_dropout == 0, "module_dropout", "lora");
  expect(is_lora || !config.scale_weight_norms, "scale_weight_norms", "lora");
  expect(has_up || !config.loraplus_ratio, "loraplus_ratio", "lora or dora");
  const bool is_lokr = config.kind == AdapterKind::kLokr;
  expect(is_lokr || !config.lokr_factor, "lokr_factor", "lokr");
  expect(is_lokr || !config.lokr_decompose_both, "lokr_decompose_both", "lokr");
}

void check_metadata(const LoraConfig& config, Problems& problems) {
  const std::vector<std::string> keys(kLoraMetadataKeys.begin(), kLoraMetadataKeys.end());
  for (const std::string& text : config.metadata) {
    const std::string key = text.substr(0, text.find('='));
    if (key == text) {
      problems.add("lora.metadata", str("expected \"key=text\", got \"", text, "\""));
    } else if (starts_with(key, kAnyFactPrefix) && key != kAnyFactPrefix) {
      continue;
    } else if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      const std::string near = nearest(key, keys);
      problems.add("lora.metadata", str("expected one of ", join(keys, ", "), " or ss_NAME, got \"", key, "\"",
                                        near.empty() ? "" : " (try " + near + ")"));
    }
  }
  if (config.no_metadata && !config.training_comment.empty()) {
    problems.add("lora.training_comment", "expected none with no_metadata, got a text");
  }
}

}  // namespace

void check_lora(const LoraConfig& config, Problems& problems) {
  if (config.targets.empty()) {
    problems.add("lora.targets", "expected all, attention or patterns of layer names, got none");
  }
  constexpr double kMostRank = 1 << 16;
  check_patterns(
      config.rank_patterns, "lora.rank_patterns", "a whole number up to 65536",
      [](double rank) { return rank == std::floor(rank) && rank <= kMostRank; }, problems);
  check_patterns(
      config.alpha_patterns, "lora.alpha_patterns", "a number above 0", [](double alpha) { return alpha > 0; },
      problems);
  check_patterns(
      config.lr_patterns, "lora.lr_patterns", "a number", [](double) { return true; }, problems);
  check_kind(config, problems);
  check_metadata(config, problems);
  const auto check = [&](const auto& parse) {
    try {
      parse(config);
    } catch (const ConfigError& error) {
      problems.add_line(error.what());
    }
  };
  check(base_multipliers);
  check(offload_blocks_of);
}

namespace {

double scale_of(double alpha, int64_t rank, bool rank_stabilised) {
  const auto r = static_cast<double>(rank);
  return alpha / (rank_stabilised ? std::sqrt(r) : r);
}

}  // namespace

double scale_of_rank(const LoraConfig& config, int64_t rank) {
  return scale_of(config.alpha.value_or(static_cast<double>(rank)), rank, config.rank_stabilised);
}

LoraScales::LoraScales(const LoraConfig& config)
    : alpha_(config.alpha),
      rank_stabilised_(config.rank_stabilised),
      own_alphas_(config.alpha_patterns, "lora.alpha_patterns") {}

double LoraScales::alpha_of(const std::string& layer, int64_t rank) const {
  return own_alphas_.of(layer, alpha_.value_or(static_cast<double>(rank)));
}

double LoraScales::of(const std::string& layer, int64_t rank) const {
  return scale_of(alpha_of(layer, rank), rank, rank_stabilised_);
}

std::optional<int64_t> offload_blocks_of(const LoraConfig& config) {
  const std::string& text = config.offload_blocks;
  if (text == "auto") return std::nullopt;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) {
    throw ConfigError("[lora.offload_blocks] expected a number of blocks from 0, or auto, got \"" + text + "\"");
  }
  return number;
}

std::vector<double> base_multipliers(const LoraConfig& config) {
  const std::vector<std::string>& texts = config.base_weights_multiplier;
  std::vector<double> multipliers(config.base_weights.size(), 1.0);
  if (texts.size() > multipliers.size()) {
    throw ConfigError(str("[lora.base_weights_multiplier] expected at most one for each of base_weights, which are ",
                          multipliers.size(), ", got ", texts.size()));
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::optional<double> number = parse_number(texts[i]);
    if (!number) throw ConfigError("[lora.base_weights_multiplier] expected numbers, got \"" + texts[i] + "\"");
    multipliers[i] = *number;
  }
  return multipliers;
}

}  // namespace millrace
