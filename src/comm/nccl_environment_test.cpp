#include "comm/nccl_environment.h"

#include <gmock/gmock.h>

#include <cstdlib>
#include <map>
#include <string>

namespace millrace {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kVariables[] = {"NCCL_ALGO", "TORCH_NCCL_DUMP_ON_TIMEOUT", "TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC"};

class NcclEnvironment : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kVariables) {
      if (const char* value = std::getenv(name)) before_[name] = value;
      ::unsetenv(name);
    }
  }
  void TearDown() override {
    for (const char* name : kVariables) ::unsetenv(name);
    for (const auto& [name, value] : before_) ::setenv(name.c_str(), value.c_str(), 1);
  }
  static std::string value_of(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  }
  std::map<std::string, std::string> before_;
};

TEST_F(NcclEnvironment, SumsDoNotUseTheSwitchesUnlessAllowed) {
  set_nccl_environment(/*allow_nvls=*/true);
  EXPECT_EQ(value_of("NCCL_ALGO"), "");
  set_nccl_environment(/*allow_nvls=*/false);
  for (const char* sum : {"reducescatter:^nvls,nvlstree", "allreduce:^nvls,nvlstree"}) {
    EXPECT_THAT(value_of("NCCL_ALGO"), HasSubstr(sum));
  }
  EXPECT_THAT(value_of("NCCL_ALGO"), Not(HasSubstr("gather")));  // copies may
}

TEST_F(NcclEnvironment, ALateCollectiveEndsWithoutWaitingForDumps) {
  set_nccl_environment(false);
  EXPECT_EQ(value_of("TORCH_NCCL_DUMP_ON_TIMEOUT"), "0");
  const int milliseconds = std::stoi(value_of("TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC"));
  EXPECT_LE(4 * milliseconds + 8000, 10000);  // c10d's wait for a trace is at most 8 s
}

TEST_F(NcclEnvironment, WhatTheUserSetStays) {
  for (const char* name : kVariables) ::setenv(name, "mine", 1);
  set_nccl_environment(false);
  for (const char* name : kVariables) EXPECT_EQ(value_of(name), "mine");
}

}  // namespace
}  // namespace millrace
