#include "config/help.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/text.h"
#include "config/foreign_options.h"
#include "config/option_table.h"

namespace millrace {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Help, NamesEveryOptionWithDefaultAndFitsTheTerminal) {
  const std::string help = options_help();
  RunConfig defaults;
  for (const OptionSection& section : option_sections(defaults)) {
    for (const Option& option : section.options) {
      EXPECT_THAT(help, HasSubstr("--" + option.full_name()));
      for (const char* alias : option.info.aliases) EXPECT_THAT(help, HasSubstr(alias));
    }
  }
  for (const std::string& line : split(help, '\n')) EXPECT_LE(line.size(), 100u) << line;
}

TEST(Help, OneSection) {
  const std::string help = options_help("lr-scheduler");
  EXPECT_THAT(help, HasSubstr("--lr_scheduler.decay_type linear|sqrt|cosine"));
  EXPECT_THAT(help, Not(HasSubstr("--training.steps")));
}

TEST(Help, UnknownSectionNamesTheNearest) {
  try {
    options_help("trainig");
    FAIL() << "expected a ConfigError";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("(try training)"));
  }
}

TEST(Help, MarkdownHoldsForeignOptionsToo) {
  const std::string text = options_markdown();
  EXPECT_THAT(text, HasSubstr("### [training]"));
  for (const ForeignOption& option : foreign_options())
    EXPECT_THAT(text, HasSubstr("`" + std::string(option.name) + "`"));
}

}  // namespace
}  // namespace millrace
