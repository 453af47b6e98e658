#include "metrics/profile_tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// linear [0, 10 us) calls matmul [1, 7), which is called alone [20, 23) too, and on another thread at the same time.
std::vector<ProfiledCall> on_the_host() {
  return {{.name = "matmul", .thread = 1, .begin_ns = 1000, .duration_ns = 6000, .number = 2, .flops = 2'000'000},
          {.name = "linear", .thread = 1, .begin_ns = 0, .duration_ns = 10'000, .number = 1},
          {.name = "matmul", .thread = 1, .begin_ns = 20'000, .duration_ns = 3000, .number = 3, .flops = 1'000'000},
          {.name = "matmul", .thread = 2, .begin_ns = 2000, .duration_ns = 1000}};
}

std::vector<std::string> words_of_row(const std::string& table, const std::string& name) {
  for (const std::string& line : split(table, '\n')) {
    std::vector<std::string> words = split(line, ' ');
    std::erase(words, "");
    if (!words.empty() && words.front() == name) return words;
  }
  return {};
}

TEST(ProfileTables, TimeOfACalleeIsNotItsCallersOwn) {
  const std::string table = key_averages_table(on_the_host(), /*with_flops=*/true);
  // name, own part, own, total part, total, average, calls, MFLOPs
  EXPECT_THAT(words_of_row(table, "matmul"),
              ElementsAre("matmul", "71.43%", "10.000us", "71.43%", "10.000us", "3.333us", "3", "3.000"));
  EXPECT_THAT(words_of_row(table, "linear"),
              ElementsAre("linear", "28.57%", "4.000us", "71.43%", "10.000us", "10.000us", "1", "--"));
  EXPECT_LT(table.find("matmul"), table.find("linear"));
  EXPECT_THAT(table, HasSubstr("Self CPU time total: 14.000us\n"));
  EXPECT_THAT(words_of_row(key_averages_table(on_the_host(), false, /*max_rows=*/1), "linear"), ElementsAre());
}

TEST(ProfileTables, StacksGoFromTheOutermostCallToTheInnermost) {
  EXPECT_EQ(operator_stacks(on_the_host()), "linear 4\nlinear;matmul 6\nmatmul 4\n");
}

TEST(ProfileTables, KernelsCountForTheCallsThatStartedThem) {
  std::vector<ProfiledCall> calls = on_the_host();
  calls.push_back({.name = "gemm", .is_on_device = true, .begin_ns = 50'000, .duration_ns = 9000, .launched_by = 2});
  calls.push_back({.name = "copy", .is_on_device = true, .begin_ns = 60'000, .duration_ns = 1000});
  const std::string table = key_averages_table(calls, false);
  // ..., own on the GPU, its part, total, average, calls
  const std::vector<std::string> linear = words_of_row(table, "linear");
  ASSERT_EQ(linear.size(), 11U) << table;
  EXPECT_THAT(std::vector(linear.begin() + 6, linear.end()),
              ElementsAre("0.000us", "0.00%", "9.000us", "9.000us", "1"));
  const std::vector<std::string> gemm = words_of_row(table, "gemm");
  EXPECT_THAT(std::vector(gemm.begin() + 6, gemm.end()), ElementsAre("9.000us", "90.00%", "9.000us", "9.000us", "1"));
  EXPECT_THAT(table, HasSubstr("Self GPU time total: 10.000us\n"));
  EXPECT_EQ(operator_stacks(calls), "linear;matmul 9\n");
}

}  // namespace
}  // namespace millrace
