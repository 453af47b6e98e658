// The loader with two tasks whose options differ, as any number of tasks may.
#include "config/task_kind.h"

#include <gmock/gmock.h>

#include <array>

#include "base/error.h"
#include "config/help.h"

namespace millrace {
namespace {

using testing::HasSubstr;
using testing::Not;

enum class Brush { kFine, kBroad };
constexpr std::array<Choice<Brush>, 2> choices_of(Brush) {
  return {{{"fine", Brush::kFine}, {"broad", Brush::kBroad}}};
}

struct PaintModel {
  std::string name = "paint";
  Brush brush = Brush::kFine;

  void describe(OptionCollector& visit) {
    visit(name, {.name = "name", .meaning = "the model", .choices = {"paint"}});
    visit(brush, {.name = "brush", .meaning = "the brush"});
  }
  bool operator==(const PaintModel&) const = default;
};

struct PaintTraining {
  int64_t colours = 3;
  void describe(OptionCollector& visit) { visit(colours, {.name = "colours", .meaning = "how many", .at_least = 1}); }
  bool operator==(const PaintTraining&) const = default;
};

struct PaintConfig : RunConfig {
  PaintModel model;
  PaintTraining training_colours;

  std::unique_ptr<RunConfig> clone() const override { return std::make_unique<PaintConfig>(*this); }
  void describe(OptionCollector& visit) override {
    RunConfig::describe(visit);
    visit.section("model", "what is painted", model);
    visit.section("training", "", training_colours);
  }
  void check(Problems& problems) const override {
    RunConfig::check(problems);
    if (training_colours.colours == 13) problems.add("training.colours", "expected another number than 13");
  }
  std::vector<ForeignOption> foreign_options() const override {
    std::vector<ForeignOption> options = RunConfig::foreign_options();
    options.push_back(
        {"model.canvas", ForeignOption::Type::kText, "None", ForeignOption::Answer::kRefuse, "no canvas"});
    options.push_back(
        {"model.broad", ForeignOption::Type::kFlag, "None", ForeignOption::Answer::kTranslate, "a brush"});
    return options;
  }
  void apply(const GivenOptions& given) override {
    if (!given.translated.empty() && given.translated.back().second.boolean) model.brush = Brush::kBroad;
  }
};

struct LoraSection {
  int64_t rank = 16;
  void describe(OptionCollector& visit) { visit(rank, {.name = "rank", .meaning = "the rank", .at_least = 1}); }
};

struct RetouchConfig : RunConfig {
  PaintModel model;
  LoraSection lora;

  std::unique_ptr<RunConfig> clone() const override { return std::make_unique<RetouchConfig>(*this); }
  void describe(OptionCollector& visit) override {
    RunConfig::describe(visit);
    visit.section("model", "what is painted", model);
    visit.section("lora", "the adapters", lora);
  }
};

template <typename Config>
std::unique_ptr<RunConfig> make() {
  return std::make_unique<Config>();
}

constexpr std::array kTasks = std::to_array<TaskKind>({
    {"paint", "paint", "paints pictures", /*is_lora=*/false, make<PaintConfig>},
    {"retouch", "paint", "paints over them", /*is_lora=*/true, make<RetouchConfig>},
});

std::unique_ptr<RunConfig> load(const std::vector<std::string>& overrides) {
  return load_run_config(kTasks, "", overrides);
}

std::string problem(const std::vector<std::string>& overrides) {
  try {
    load(overrides);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(TaskKind, IsChosenByNameByModelOrByTheLoraSection) {
  EXPECT_EQ(load({})->job.task, "paint");
  EXPECT_EQ(load({"--model.name=paint"})->job.task, "paint");
  EXPECT_EQ(load({"--lora.rank=4"})->job.task, "retouch");
  EXPECT_EQ(load({"--job.task=retouch"})->job.task, "retouch");
  EXPECT_THAT(problem({"--job.task=paintt"}),
              HasSubstr("[--job.task] job.task: expected one of paint, retouch, got \"paintt\" (try \"paint\")"));
  EXPECT_THAT(problem({"--model.name=sculpture"}), HasSubstr("expected one of paint"));
}

TEST(TaskKind, AnOptionOfAnotherTaskIsNamedWithItsTask) {
  EXPECT_THAT(problem({"--job.task=paint", "--lora.rank=4"}),
              HasSubstr("[--lora.rank] expected an option of the task paint, got lora.rank, which belongs to the task "
                        "retouch (try job.task = \"retouch\")"));
  EXPECT_THAT(problem({"--job.task=retouch", "--training.colours=4"}), HasSubstr("which belongs to the task paint"));
  EXPECT_THAT(problem({"--training.colour=4"}), HasSubstr("expected a known option (try --training.colours)"));
}

TEST(TaskKind, OwnsChecksForeignOptionsAndTheirTranslation) {
  EXPECT_THAT(problem({"--training.colours=13"}), HasSubstr("another number than 13"));
  EXPECT_EQ(problem({"--job.task=retouch", "--training.steps=13"}), "");
  EXPECT_THAT(problem({"--model.canvas=linen"}), HasSubstr("no canvas"));
  EXPECT_THAT(problem({"--job.task=retouch", "--model.canvas=linen"}), HasSubstr("expected a known option"));
  EXPECT_EQ(dynamic_cast<PaintConfig&>(*load({"--model.broad"})).model.brush, Brush::kBroad);
}

TEST(TaskKind, EnumsAreWrittenAsTheirTexts) {
  const std::unique_ptr<RunConfig> config = load({"--model.brush=broad"});
  EXPECT_EQ(dynamic_cast<PaintConfig&>(*config).model.brush, Brush::kBroad);
  EXPECT_THAT(to_toml(*config), HasSubstr("brush = \"broad\""));
  EXPECT_THAT(problem({"--model.brush=brod"}),
              HasSubstr("expected one of fine, broad, got the text \"brod\" (try \"broad\")"));
  EXPECT_THAT(problem({"--model.brush=1"}), HasSubstr("expected one of fine, broad"));
}

TEST(TaskKind, HelpNamesWhatOneTaskAloneHas) {
  const std::string help = options_help(kTasks);
  EXPECT_THAT(help, HasSubstr("retouch\n      paints over them"));
  EXPECT_THAT(help, HasSubstr("only for the task retouch"));
  EXPECT_THAT(help, HasSubstr("--model.brush fine|broad"));
  EXPECT_THAT(options_help(kTasks, "lora"), HasSubstr("--lora.rank"));
  EXPECT_THAT(options_markdown(kTasks[1]), HasSubstr("### [lora]"));
  EXPECT_THAT(options_markdown(kTasks[1]), Not(HasSubstr("### [job]")));
  EXPECT_THAT(options_markdown(), Not(HasSubstr("### [lora]")));
}

}  // namespace
}  // namespace millrace
