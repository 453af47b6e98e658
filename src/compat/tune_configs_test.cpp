#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "compat/golden_test_support.h"
#include "compat/tune_recipes.h"
#include "compat/yaml_tree.h"

namespace millrace {
namespace {

using Kind = PlacedValue::Kind;

nlohmann::json as_json(const PlacedValue& value) {
  switch (value.kind) {
    case Kind::kBool:
      return value.boolean;
    case Kind::kInteger:
      return value.integer;
    case Kind::kFloat:
      return value.floating;
    case Kind::kText:
      return value.text;
    case Kind::kList: {
      auto list = nlohmann::json::array();
      for (const PlacedValue& item : value.items) list.push_back(as_json(item));
      return list;
    }
    default:
      return nullptr;
  }
}

void flatten(const PlacedValue& table, const std::string& prefix, nlohmann::json& flat) {
  for (const PlacedValue& item : table.items) {
    if (item.is(Kind::kTable)) {
      flatten(item, prefix + item.key + ".", flat);
    } else {
      flat[prefix + item.key] = as_json(item);
    }
  }
}

TEST(TuneConfigs, SayWhatThoseOfTorchtuneSay) {
  const nlohmann::json golden = compat_golden("llama/configs/shipped.json");
  size_t compared = 0;
  for (const std::string& name : tune_config_names()) {
    ASSERT_TRUE(golden.contains(name)) << name;
    nlohmann::json expected = golden.at("common"), got;
    expected.update(golden.at(name));
    flatten(parse_yaml_tree(*tune_config_text(name), name), "", got);
    EXPECT_EQ(nlohmann::json::diff(expected, got).dump(1), "[]") << name;
    ++compared;
  }
  EXPECT_EQ(compared + 1, golden.size());
}

}  // namespace
}  // namespace millrace
