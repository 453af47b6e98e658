#include "compat/yaml_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "compat/golden_test_support.h"
#include "compat/yaml_numbers.h"
#include "picture_sets/read_document.h"

namespace millrace {
namespace {

using testing::HasSubstr;

std::string as_json(const std::string& yaml) {
  return to_json(parse_yaml_tree(yaml, "f.yaml")).dump();
}
std::string problem(const std::string& yaml) {
  return config_problem([&] { parse_yaml_tree(yaml, "f.yaml"); });
}

TEST(YamlNumbers, AreThoseOfYaml11) {
  EXPECT_EQ(yaml_integer("12"), 12);
  EXPECT_EQ(yaml_integer("-1_000"), -1000);
  EXPECT_EQ(yaml_integer("0x1F"), 31);
  EXPECT_EQ(yaml_integer("017"), 15);
  EXPECT_EQ(yaml_integer("0b101"), 5);
  EXPECT_EQ(yaml_integer("1:30"), 90);
  EXPECT_EQ(yaml_integer("08"), std::nullopt);
  EXPECT_EQ(yaml_integer("1.0"), std::nullopt);
  EXPECT_EQ(yaml_integer("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(yaml_integer("-9223372036854775808"), INT64_MIN);
  EXPECT_EQ(yaml_integer("9223372036854775808"), std::nullopt);
  EXPECT_EQ(yaml_float("2e-5"), 2e-5);  // a text for YAML 1.1, a number for OmegaConf
  EXPECT_EQ(yaml_float("1."), 1.0);
  EXPECT_EQ(yaml_float(".5"), 0.5);
  EXPECT_EQ(yaml_float("-1.5e+3"), -1500.0);
  EXPECT_EQ(yaml_float("-.inf"), -INFINITY);
  EXPECT_TRUE(std::isnan(*yaml_float(".nan")));
  EXPECT_EQ(yaml_float("e5"), std::nullopt);
  EXPECT_EQ(yaml_float("."), std::nullopt);
  EXPECT_EQ(yaml_float("1.2.3"), std::nullopt);
}

TEST(YamlTree, HasEveryKindOfValue) {
  EXPECT_EQ(as_json("a: 1\nb: [x, 2e-5, yes, ~]\nc: {d: 'no', e: \"00030\"}\nf:\n  - g: null\n"),
            R"({"a":1,"b":["x",2e-05,true,null],"c":{"d":"no","e":"00030"},"f":[{"g":null}]})");
  EXPECT_EQ(as_json(""), "{}");
  EXPECT_EQ(as_json("# only a comment\n"), "{}");
  EXPECT_EQ(as_json("a: 2026-11-28\n"), R"({"a":"2026-11-28"})");
}

TEST(YamlTree, FollowsAnchorsAndMerges) {
  EXPECT_EQ(as_json("a: &x {p: 1, q: 2}\nb: *x\nc:\n  <<: *x\n  q: 3\n"),
            R"({"a":{"p":1,"q":2},"b":{"p":1,"q":2},"c":{"q":3,"p":1}})");
}

TEST(YamlTree, KnowsItsLines) {
  const PlacedValue tree = parse_yaml_tree("a:\n  b: 1\n  c: [2,\n      3]\n", "f.yaml");
  const PlacedValue& a = *tree.find("a");
  EXPECT_EQ(a.find("c")->place.line, 3);
  EXPECT_EQ(a.find("c")->items[1].place.line, 4);
}

TEST(YamlTree, RefusesByLineWhatItCannotRead) {
  EXPECT_THAT(problem("a: [1,\nb: 2\n"), HasSubstr("[f.yaml:"));
  EXPECT_THAT(problem("a: 1\nb: 2\na: 3\n"),
              HasSubstr("[f.yaml:3:1] expected each key once, got a again, which is in line 1"));
  EXPECT_THAT(problem("a: !!python/object:os.system x\n"), HasSubstr("[f.yaml:1:1] expected a plain value"));
  EXPECT_THAT(problem("a: 1\n---\nb: 2\n"), HasSubstr("expected one YAML document, got 2"));
  EXPECT_THAT(problem("[a, b]: 1\n"), HasSubstr("expected a word for a key"));
  EXPECT_THAT(problem("a: \"\xff\"\n"), HasSubstr("[f.yaml:1"));
}

TEST(YamlTree, LimitsWhatAliasesMayGrowTo) {
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string item = "*a" + std::to_string(i - 1);
    std::string items = item;
    for (int j = 1; j < 10; ++j) items += ", " + item;
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + items + "]\n";
  }
  EXPECT_THAT(problem(laughs), HasSubstr("expected at most 100000 values"));
  EXPECT_THAT(problem("a: " + std::string(100, '[') + std::string(100, ']') + "\n"), HasSubstr("levels"));
}

}  // namespace
}  // namespace millrace
