#include "compat/interpolation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compat/golden_test_support.h"
#include "compat/yaml_tree.h"
#include "picture_sets/read_document.h"

namespace millrace {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::optional<std::string> environment(const std::string& name) {
  if (name == "HOME") return "/home/me";
  if (name == "RANK") return "16";
  return name == "LAYERS" ? std::optional<std::string>("[q_proj, v_proj]") : std::nullopt;
}

std::string resolved(const std::string& yaml) {
  PlacedValue tree = parse_yaml_tree(yaml, "f.yaml");
  resolve_interpolations(tree, "f.yaml", environment);
  return to_json(tree).dump();
}
std::string problem(const std::string& yaml) {
  return config_problem([&] { resolved(yaml); });
}

TEST(Interpolation, KeepsTheTypeAloneAndIsTextWithinText) {
  EXPECT_EQ(resolved("a: 4\nb: ${a}\nc: x${a}y\nd: ['${a}']\n"), R"({"a":4,"b":4,"c":"x4y","d":[4]})");
  EXPECT_EQ(resolved("t: true\nn: null\nf: 1e-5\ns: ${t}/${n}/${f}\n"),
            R"({"t":true,"n":null,"f":1e-05,"s":"True/None/1e-05"})");
}

TEST(Interpolation, FollowsTablesListsAndOtherInterpolations) {
  EXPECT_EQ(resolved("root: /r\nout: ${root}/o\nm: {log: '${out}/logs'}\n"),
            R"({"root":"/r","out":"/r/o","m":{"log":"/r/o/logs"}})");
  EXPECT_EQ(resolved("a: {b: [5, 6]}\nc: ${a.b.1}\nd: ${a.b[0]}\ne: ${a}\n"),
            R"({"a":{"b":[5,6]},"c":6,"d":5,"e":{"b":[5,6]}})");
  EXPECT_EQ(resolved("which: b\na: {b: 7}\nc: ${a.${which}}\n"), R"({"which":"b","a":{"b":7},"c":7})");
}

TEST(Interpolation, TakesRelativeKeysTheEnvironmentAndEscapes) {
  EXPECT_EQ(resolved("a: {b: 1, c: '${.b}', d: {e: '${..b}'}}\n"), R"({"a":{"b":1,"c":1,"d":{"e":1}}})");
  EXPECT_EQ(resolved("a: ${oc.env:HOME}/x\nb: ${oc.env:NONE,3}\n"), R"({"a":"/home/me/x","b":3})");
  EXPECT_EQ(resolved("a: '\\${x}'\nb: ${a}\n"), R"({"a":"${x}","b":"${x}"})");
}

TEST(Interpolation, DecodesTextsAndSelectsKeysThatMayBeMissing) {
  EXPECT_EQ(resolved("a: ${oc.env:RANK}\nb: ${oc.decode:${oc.env:RANK}}\nc: ${oc.decode:${oc.env:LAYERS}}\n"),
            R"({"a":"16","b":16,"c":["q_proj","v_proj"]})");
  EXPECT_EQ(resolved("a: ${oc.decode:'2e-5'}\nb: ${oc.decode:word}\nc: ${oc.decode:null}\nd: '${oc.decode:{x: 1}}'\n"),
            R"({"a":"2e-5","b":"word","c":null,"d":{"x":1}})");
  EXPECT_EQ(resolved("a: {b: 7, c: null}\nd: ${oc.select:a.b,3}\ne: ${oc.select:a.x,3}\nf: ${oc.select:y}\n"
                     "g: ${oc.select:a.c,3}\nh: {i: '${oc.select:.j, 4}', j: '${a.b}'}\n"),
            R"({"a":{"b":7,"c":null},"d":7,"e":3,"f":null,"g":null,"h":{"i":7,"j":7}})");
  EXPECT_THAT(problem("a: ${oc.decode:[1}\n"), HasSubstr("[f.yaml:1:1] expected a value to decode, got \"[1\""));
}

TEST(Interpolation, NamesWhatIsWrongByLine) {
  EXPECT_THAT(problem("output_dir: /x\na: ${ouptut_dir}/y\n"),
              AllOf(HasSubstr("[f.yaml:2:1]"), HasSubstr("got ouptut_dir (try output_dir)")));
  EXPECT_THAT(problem("a: ${b}\nb: ${a}\n"), HasSubstr("leads back to itself"));
  EXPECT_THAT(problem("a: {b: '${a}'}\n"), HasSubstr("[f.yaml:1"));
  EXPECT_THAT(problem("a: ${b\n"), HasSubstr("expected } after ${"));
  EXPECT_THAT(problem("a: ${oc.env:NONE}\n"), HasSubstr("environment variable NONE, which is not set"));
  EXPECT_THAT(problem("a: ${oc.create:x}\n"), HasSubstr("the resolver oc.create"));
  EXPECT_THAT(problem("t: {u: 1}\na: x${t}\n"), HasSubstr("expected a word inside of the text"));
}

TEST(Interpolation, LimitsWhatItMayGrowTo) {
  std::string text = "a0: xxxxxxxxxxxxxxxx\n";
  for (int i = 1; i < 40; ++i) {
    const std::string before = "${a" + std::to_string(i - 1) + "}";
    text += "a" + std::to_string(i) + ": " + before + before + "\n";
  }
  EXPECT_THAT(problem(text), HasSubstr("at most 1 MiB"));
}

}  // namespace
}  // namespace millrace
