#include "config/toml_file.h"

#include <gmock/gmock.h>

#include <random>

#include "base/error.h"

namespace millrace {
namespace {

using testing::HasSubstr;

std::string problem_of(const std::string& content) {
  try {
    parse_toml(content, "run.toml");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(TomlFile, KeepsOrderPlacesAndNesting) {
  const auto sections = parse_toml("[b]\nz = 1\na.c = [true, 2.5]\n\n[a]\n  k = \"x\"\n[b.d]\ne = 1\n", "f");
  ASSERT_EQ(sections.size(), 2u);
  EXPECT_EQ(sections[0].name, "b");
  ASSERT_EQ(sections[0].entries.size(), 3u);
  EXPECT_EQ(sections[0].entries[0].key, "z");
  EXPECT_EQ(sections[0].entries[1].key, "a.c");
  EXPECT_EQ(sections[0].entries[1].value.items.size(), 2u);
  EXPECT_EQ(sections[0].entries[2].key, "d.e");
  EXPECT_EQ(sections[1].name, "a");
  EXPECT_EQ(sections[1].entries[0].key_place.line, 6);
  EXPECT_EQ(sections[1].entries[0].key_place.column, 3);
  EXPECT_EQ(sections[1].entries[0].value_place.column, 7);
}

TEST(TomlFile, BrokenTomlShowsTheLine) {
  const std::string problem = problem_of("[training]\nsteps = \nseed = 1\n");
  EXPECT_THAT(problem, HasSubstr("[run.toml:2:"));
  EXPECT_THAT(problem, HasSubstr("  2 | steps = \n"));
  EXPECT_THAT(problem, HasSubstr("^"));
}

TEST(TomlFile, DuplicateKeysAreBroken) {
  EXPECT_THAT(problem_of("[a]\nb = 1\nb = 2\n"), HasSubstr("[run.toml:3:"));
  EXPECT_NE(problem_of("[a]\n[a]\n"), "");
}

// toml++ 3.3 asserts here where it should report an error.
TEST(TomlFile, SectionNameThatIsNone) {
  EXPECT_EQ(problem_of("[a]\nb = 1\n\n[=c]\nd = 3\n"), "[run.toml:4] expected valid TOML\n  4 | [=c]");
}

TEST(TomlFile, BytesThatAreNoText) {
  EXPECT_NE(problem_of(std::string("[a]\nb = \"\xff\xfe\"\n")), "");
  EXPECT_NE(problem_of(std::string("[a]\nb = \"x\0y\"\n", 12)), "");
}

TEST(TomlFile, DeepNestingIsRefusedNotFollowed) {
  std::string dotted = "[a";
  for (int i = 0; i < 100000; ++i) dotted += ".a";
  EXPECT_THAT(problem_of(dotted + "]\n"), HasSubstr("dots"));
  EXPECT_NE(problem_of("a = " + std::string(100000, '[')), "");
}

TEST(TomlFile, MutatedFilesAreReadOrRefused) {
  const std::string good =
      "[training]\nsteps = 5 # c\nname = 'a'\nlist = [1, 2.5e3, \"x\\n\"]\nd = 1979-05-27\n[a.b]\nc = {d = 1}\n";
  std::mt19937 random(3);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string mutated = good;
    for (int k = 0; k < 3; ++k) {
      const size_t at = random() % mutated.size();
      switch (random() % 3) {
        case 0:
          mutated[at] = static_cast<char>(random());
          break;
        case 1:
          mutated.erase(at, 1 + random() % 4);
          break;
        default:
          mutated.insert(at, 1, "[]{}=.\"'\n#-0"[random() % 12]);
      }
    }
    refused += problem_of(mutated).empty() ? 0 : 1;
  }
  EXPECT_GT(refused, 1000);
  EXPECT_LT(refused, 20000);
}

TEST(TomlFile, OneValueOnly) {
  EXPECT_EQ(parse_toml_value("[1, 2]", "x").items.size(), 2u);
  EXPECT_THROW(parse_toml_value("1\nother = 2", "x"), ConfigError);
  EXPECT_THROW(parse_toml_value("[1,", "x"), ConfigError);
  EXPECT_THROW(parse_toml_value("", "x"), ConfigError);
}

}  // namespace
}  // namespace millrace
