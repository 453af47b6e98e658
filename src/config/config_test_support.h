// What the tests of this folder share: a file that is gone after the test, and the message of a ConfigError.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/run_config.h"

namespace millrace {

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() {
    static int count = 0;
    folder_ = std::filesystem::temp_directory_path() /
              ("millrace_config_" + std::to_string(getpid()) + "_" + std::to_string(count++));
    std::filesystem::create_directories(folder_);
  }
  ~ConfigTest() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& content) const {
    const std::filesystem::path path = folder_ / "run.toml";
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  RunConfig load(const std::string& content, const std::vector<std::string>& overrides = {}) const {
    return load_run_config(write(content), overrides);
  }
  // The message of the ConfigError, with the folder's name cut out; "" when nothing was thrown.
  std::string problem(const std::string& content, const std::vector<std::string>& overrides = {}) const {
    try {
      load(content, overrides);
    } catch (const ConfigError& error) {
      std::string message = error.what();
      const std::string prefix = folder_.string() + "/";
      for (size_t at; (at = message.find(prefix)) != std::string::npos;) message.erase(at, prefix.size());
      return message;
    }
    return "";
  }

  std::filesystem::path folder_;
};

}  // namespace millrace
