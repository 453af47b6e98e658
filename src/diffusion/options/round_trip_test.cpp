#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "config/foreign_options.h"
#include "config/option_table.h"
#include "diffusion/options/config_test_support.h"

namespace millrace {
namespace {

class RandomValues {
 public:
  explicit RandomValues(uint64_t seed) : random_(seed) {}

  TomlValue value_for(const Option& option) {
    if (option.accepts_none() && below(4) == 0) return {};
    if (option.is_flag()) return {.kind = TomlValue::Kind::kBool, .boolean = below(2) == 0};
    if (option.is_list()) {
      TomlValue list{.kind = TomlValue::Kind::kList};
      const bool texts = std::holds_alternative<std::vector<std::string>*>(option.member);
      for (uint64_t i = below(5); i > 0; --i) list.items.push_back(texts ? text() : whole_number(option.info));
      return list;
    }
    if (std::holds_alternative<std::optional<StepsOrPart>*>(option.member)) {
      if (below(8) == 0) return TomlValue::of_text("100%");
      if (below(2) == 0) return {.kind = TomlValue::Kind::kFloat, .floating = 1.0 / static_cast<double>(2 + below(50))};
      return {.kind = TomlValue::Kind::kInteger, .integer = static_cast<int64_t>(below(300))};
    }
    if (option.is_text()) {
      const auto& choices = option.info.choices;
      return choices.empty() ? text() : TomlValue::of_text(choices[below(choices.size())]);
    }
    const bool whole = std::holds_alternative<int64_t*>(option.member) ||
                       std::holds_alternative<std::optional<int64_t>*>(option.member);
    return whole ? whole_number(option.info) : number(option.info);
  }
  uint64_t below(uint64_t bound) { return std::uniform_int_distribution<uint64_t>(0, bound - 1)(random_); }

 private:
  TomlValue text() {
    static const std::vector<std::string> kPieces = {"a",    "\"", "\\", "\n", "\t",      "\r",  "\x01",
                                                     "\x7f", "é",  "猫", "🐈",  "'",       "#",   "=",
                                                     "[",    "]",  ",",  " ",  "\\u0041", "None"};
    std::string text;
    for (uint64_t i = below(12); i > 0; --i) text += kPieces[below(kPieces.size())];
    return TomlValue::of_text(text);
  }
  TomlValue whole_number(const OptionInfo& info) {
    const double low = std::max(info.at_least, -1e15), high = std::min({info.at_most, info.below - 1, 1e15});
    const auto number =
        static_cast<int64_t>(std::uniform_real_distribution<double>(low, std::min(high, low + 300))(random_));
    return {.kind = TomlValue::Kind::kInteger, .integer = number};
  }
  TomlValue number(const OptionInfo& info) {
    const double low = std::max({info.at_least, info.above, -1e6}), high = std::min({info.at_most, info.below, 1e6});
    double number = std::uniform_real_distribution<double>(low, high)(random_);
    if (below(3) == 0) number = low + (high - low) * std::exp2(-static_cast<double>(1 + below(60)));
    return {.kind = TomlValue::Kind::kFloat, .floating = number};
  }

  std::mt19937_64 random_;
};

bool fits(const FluxRunConfig& config) {
  Problems problems;
  config.check(problems);
  return problems.empty();
}

TEST_F(ConfigTest, PrintedConfigurationReadsBackEqual) {
  RandomValues random(7);
  for (int round = 0; round < 200; ++round) {
    FluxRunConfig config = flux_defaults();
    for (const OptionSection& section : option_sections(config)) {
      for (const Option& option : section.options) {
        if (random.below(2) == 0 || option.full_name() == "job.task") continue;  // tasks have fixed names
        const FluxRunConfig before = config;
        ASSERT_EQ(assign(option, random.value_for(option)), "") << option.full_name();
        if (!fits(config)) config = before;
      }
    }
    const std::string text = to_toml(config);
    ASSERT_EQ(load(text), config) << text;
  }
}

// None is printed as a comment, so it must be what the option is without a line.
TEST_F(ConfigTest, OptionsThatMayBeNoneAreNoneByDefault) {
  FluxRunConfig config;
  for (const OptionSection& section : option_sections(config)) {
    for (const Option& option : section.options) {
      if (option.accepts_none() && !option.info.none_is_empty) {
        EXPECT_EQ(value_text(option), "None") << option.full_name();
      }
    }
  }
}

TEST_F(ConfigTest, EveryDefaultIsAllowedByItsOwnDescription) {
  FluxRunConfig config;
  for (const OptionSection& section : option_sections(config)) {
    for (const Option& option : section.options) {
      const std::string text = value_text(option);
      if (text == "None") continue;
      EXPECT_EQ(assign(option, parse_toml_value(text, option.full_name())), "") << option.full_name();
      EXPECT_STRNE(option.info.meaning, "") << option.full_name();
    }
  }
  EXPECT_EQ(config, FluxRunConfig{});
}

TEST_F(ConfigTest, NoNameIsDescribedTwice) {
  FluxRunConfig config;
  std::set<std::string> names;
  for (const OptionSection& section : option_sections(config)) {
    for (const Option& option : section.options) {
      EXPECT_TRUE(names.insert(option.full_name()).second) << option.full_name();
      for (const char* alias : option.info.aliases) EXPECT_TRUE(names.insert(alias).second) << alias;
    }
  }
  for (const ForeignOption& option : config.foreign_options())
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
}

}  // namespace
}  // namespace millrace
