#include "config/help.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/text.h"
#include "config/foreign_options.h"
#include "config/option_table.h"
#include "diffusion/options/config_test_support.h"

namespace millrace {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Help, NamesEveryOptionWithDefaultAndFitsTheTerminal) {
  const std::string help = options_help(kFluxTask);
  FluxRunConfig defaults;
  for (const OptionSection& section : option_sections(defaults)) {
    for (const Option& option : section.options) {
      EXPECT_THAT(help, HasSubstr("--" + option.full_name()));
      for (const char* alias : option.info.aliases) EXPECT_THAT(help, HasSubstr(alias));
    }
  }
  for (const std::string& line : split(help, '\n')) EXPECT_LE(line.size(), 100u) << line;
}

TEST(Help, OneSection) {
  const std::string help = options_help(kFluxTask, "lr-scheduler");
  EXPECT_THAT(help, HasSubstr("--lr_scheduler.decay_type linear|sqrt|cosine"));
  EXPECT_THAT(help, Not(HasSubstr("--training.steps")));
}

TEST(Help, UnknownSectionNamesTheNearest) {
  try {
    options_help(kFluxTask, "trainig");
    FAIL() << "expected a ConfigError";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("(try training)"));
  }
}

TEST(Help, MarkdownHoldsForeignOptionsToo) {
  const std::string text = options_markdown() + options_markdown(kFluxTask.front());
  EXPECT_THAT(text, HasSubstr("### [training]"));
  for (const ForeignOption& option : FluxRunConfig{}.foreign_options())
    EXPECT_THAT(text, HasSubstr("`" + std::string(option.name) + "`"));
}

}  // namespace
}  // namespace millrace
