#include "config/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "base/error.h"

namespace millrace {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Words = std::vector<std::string>;

// A command with -p VALUE, --prompt VALUE and --list.
Arguments split(const Words& args) {
  static constexpr std::array kTasks = {TaskKind{"plain", "plain", "a task without its own options", false,
                                                 [] { return std::make_unique<RunConfig>(); }}};
  return split_arguments(kTasks, args, [&](size_t i) -> size_t {
    const bool takes_value = args[i] == "-p" || args[i] == "--prompt";
    return takes_value && i + 1 < args.size() ? 2 : takes_value || args[i] == "--list" ? 1 : 0;
  });
}

TEST(Arguments, AValueIsTheSameWithAndWithoutAnEqualsSign) {
  const struct {
    Words args;
    const char* override;
  } cases[] = {
      {{"--training.steps", "4"}, "--training.steps=4"},
      {{"--training.steps=4"}, "--training.steps=4"},
      {{"--optimizer.lr", "-1"}, "--optimizer.lr=-1"},
      {{"--job.description", "a=b, [c]"}, "--job.description=a=b, [c]"},
      {{"--job.description", ""}, "--job.description="},
      {{"--job.description="}, "--job.description="},
      {{"--job.description=--x"}, "--job.description=--x"},
      {{"--checkpoint.enable"}, "--checkpoint.enable"},
      {{"--checkpoint.enable", "false"}, "--checkpoint.enable=false"},
  };
  for (const auto& [args, override] : cases) {
    const Arguments got = split(args);
    EXPECT_THAT(got.overrides, ElementsAre(override));
    EXPECT_THAT(got.positional, IsEmpty());
  }
  EXPECT_THROW(split({"--training.steps"}), ConfigError);
  EXPECT_THROW(split({"--training.steps", "--list"}), ConfigError);
}

TEST(Arguments, TheCommandsOwnOptionsKeepTheirValues) {
  const Arguments got = split({"run", "--prompt", "--training.steps=4", "--checkpoint.enable", "-p", "b", "--list",
                               "--training.steps", "5", "c"});
  EXPECT_THAT(got.own, ElementsAre("--prompt", "--training.steps=4", "-p", "b", "--list"));
  EXPECT_THAT(got.overrides, ElementsAre("--checkpoint.enable", "--training.steps=5"));
  EXPECT_THAT(got.positional, ElementsAre("run", "c"));
  EXPECT_THAT(got.others, IsEmpty());
}

TEST(Arguments, WhatFollowsTwoDashesIsNoOption) {
  const Arguments got = split({"a", "--", "--training.steps=4", "-p", "--", "x"});
  EXPECT_THAT(got.positional, ElementsAre("a", "--training.steps=4", "-p", "--", "x"));
  EXPECT_THAT(got.overrides, IsEmpty());
  EXPECT_THAT(got.own, IsEmpty());
}

}  // namespace
}  // namespace millrace
