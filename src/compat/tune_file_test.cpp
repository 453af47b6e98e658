#include "compat/tune_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compat/golden_test_support.h"
#include "compat/tune_recipes.h"
#include "picture_sets/read_document.h"

namespace millrace {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Json = nlohmann::ordered_json;

std::optional<std::string> no_environment(const std::string&) {
  return std::nullopt;
}

// {"a.b": 1} as {"a": {"b": 1}}, which as JSON is YAML, too.
Json nested(const Json& flat) {
  Json root = Json::object();
  for (const auto& [path, value] : flat.items()) {
    Json* at = &root;
    size_t begin = 0;
    for (size_t dot; (dot = path.find('.', begin)) != std::string::npos; begin = dot + 1) {
      at = &(*at)[path.substr(begin, dot - begin)];
    }
    (*at)[path.substr(begin)] = value;
  }
  return root;
}

Json parsed(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  return to_json(parse_tune_file(yaml, "f.yaml", overrides, no_environment).root);
}
std::string problem(const std::string& yaml, const std::vector<std::string>& overrides) {
  return config_problem([&] { parsed(yaml, overrides); });
}

TEST(TuneFile, ResolvesEveryRecipeAsOmegaConfDoes) {
  const Json facts = compat_golden("llama/configs/facts.json");
  ASSERT_EQ(facts.size(), 4u);
  for (const auto& [name, fact] : facts.items()) {
    EXPECT_EQ(nlohmann::json(parsed(nested(fact["as_written"]).dump())), nlohmann::json(nested(fact["resolved"])))
        << name;
  }
}

TEST(TuneFile, ShipsRecipesWithTorchtunesSettings) {
  const Json facts = compat_golden("llama/configs/facts.json");
  for (const auto& [name, fact] : facts.items()) {
    const auto text = tune_config_text(name);
    ASSERT_TRUE(text) << name;
    EXPECT_EQ(nlohmann::json(parsed(*text)), nlohmann::json(nested(fact["resolved"]))) << name;
  }
}

TEST(TuneFile, TakesOverridesInEveryForm) {
  const std::string yaml =
      "out: /a\nlog: ${out}/l\nbatch_size: 2\nmodel: {_component_: torchtune.models.x, rank: 8}\n"
      "c: {max_filename: '30'}\n";
  EXPECT_EQ(parsed(yaml, {"out=/b", "batch_size=4"})["log"], "/b/l");
  EXPECT_EQ(parsed(yaml, {"model=torchtune.models.y"})["model"],
            (Json{{"_component_", "torchtune.models.y"}, {"rank", 8}}));
  EXPECT_EQ(parsed(yaml, {"model._component_=torchtune.models.z"})["model"]["_component_"], "torchtune.models.z");
  EXPECT_EQ(parsed(yaml, {"batch_size=None"})["batch_size"], nullptr);
  EXPECT_EQ(parsed(yaml, {"model.layers=[q_proj, v_proj]"})["model"]["layers"], (Json{"q_proj", "v_proj"}));
  EXPECT_EQ(parsed(yaml, {"optimizer.lr=2e-5"})["optimizer"]["lr"], 2e-5);
  EXPECT_EQ(parsed(yaml, {"c.max_filename=00002"})["c"]["max_filename"], "00002");
  EXPECT_FALSE(parsed(yaml, {"~model.rank"})["model"].contains("rank"));
  EXPECT_EQ(parsed(yaml, {"log='${out}'"})["log"], "'/a'");
}

TEST(TuneFile, KnowsTheKeysThatInterpolationsUse) {
  const auto file =
      parse_tune_file("a: 1\nb: 2\nc: 3\nd: ['x${a}', '${oc.select:b,4}']\n", "f.yaml", {}, no_environment);
  EXPECT_TRUE(file.variables.contains("a"));
  EXPECT_TRUE(file.variables.contains("b"));
  EXPECT_FALSE(file.variables.contains("c"));
}

TEST(TuneFile, NamesOverridesThatAreNone) {
  const std::string yaml = "batch_size: 2\nmodel: {_component_: x}\nfiles: [a, b]\n";
  EXPECT_THAT(problem(yaml, {"--batch_size=4"}), HasSubstr("[--batch_size] expected key=value or ~key"));
  EXPECT_THAT(problem(yaml, {"batch_size"}), HasSubstr("[batch_size] expected key=value"));
  EXPECT_THAT(problem(yaml, {"a=b=c"}), HasSubstr("with one ="));
  EXPECT_THAT(problem(yaml, {"~model"}), HasSubstr("a component, which can only be replaced"));
  EXPECT_THAT(problem(yaml, {"~batch_sise"}), HasSubstr("(try batch_size)"));
  EXPECT_THAT(problem(yaml, {"files.0=c"}), HasSubstr("expected the whole list"));
  EXPECT_THAT(problem(yaml, {"a=[1"}), HasSubstr("[a] expected a YAML value"));
  EXPECT_THAT(problem("- a\n", {}), HasSubstr("expected a table of keys, got a list of 1"));
}

TEST(TuneFile, SaysWhichKeyHasTheWrongTypeAndWhere) {
  const TuneFile file = parse_tune_file("a: 1\nb: {c: x}\n", "f.yaml", {"d=yes"}, no_environment);
  Translation out;
  TuneTable root(&file.root, "", file, out);
  EXPECT_EQ(root.text("a"), "1");
  EXPECT_EQ(root.integer("absent"), std::nullopt);
  EXPECT_EQ(root.table("b").integer("c"), std::nullopt);
  EXPECT_EQ(root.number("d"), std::nullopt);
  EXPECT_EQ(root.from("a").place, "f.yaml:1:1");
  EXPECT_THAT(config_problem([&] { out.throw_if_refused(); }),
              AllOf(HasSubstr("[f.yaml:2:5] expected a whole number for b.c, got the text \"x\""),
                    HasSubstr("[d] expected a number for d, got true")));
}

TEST(TuneFile, OverridesThatReferToNothingAreOverrides) {
  EXPECT_THAT(problem("a: 1\n", {"b=${root}/x"}), testing::HasSubstr("[an override of f.yaml] expected a key"));
}

}  // namespace
}  // namespace millrace
