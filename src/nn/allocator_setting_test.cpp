#include "nn/allocator_setting.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

namespace millrace {
namespace {

constexpr const char* kVariable = "MILLRACE_TEST_ALLOC_CONF";

std::string setting_after(const char* own, const char* newer_name) {
  const auto set = [](const char* name, const char* value) {
    value != nullptr ? ::setenv(name, value, 1) : ::unsetenv(name);
  };
  const char* before = std::getenv("PYTORCH_ALLOC_CONF");
  const std::string saved = before != nullptr ? before : "";
  set(kVariable, own);
  set("PYTORCH_ALLOC_CONF", newer_name);
  prefer_growing_memory(kVariable);
  const char* value = std::getenv(kVariable);
  const std::string result = value != nullptr ? value : "";
  set(kVariable, nullptr);
  set("PYTORCH_ALLOC_CONF", before != nullptr ? saved.c_str() : nullptr);
  return result;
}

TEST(AllocatorSetting, MemoryGrowsUnlessTheUserSaysOtherwise) {
  EXPECT_EQ(setting_after(nullptr, nullptr), "expandable_segments:True");
  EXPECT_EQ(setting_after("max_split_size_mb:64", nullptr), "max_split_size_mb:64");
  EXPECT_EQ(setting_after(nullptr, "max_split_size_mb:64"), "");
}

}  // namespace
}  // namespace millrace
