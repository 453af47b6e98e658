// Helpers for the tests of the options: the loader with a task of FLUX, a temporary file, and the message
// of a ConfigError.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "config/task_kind.h"
#include "diffusion/flux_run_config.h"

namespace millrace {

inline std::unique_ptr<RunConfig> make_flux_config() {
  auto config = std::make_unique<FluxRunConfig>();
  config->job.task = "flux";
  return config;
}
inline constexpr std::array kFluxTask = {
    TaskKind{"flux", "flux", "a task of FLUX", /*is_lora=*/false, make_flux_config}};
// The configuration of an empty file.
inline FluxRunConfig flux_defaults() {
  FluxRunConfig config;
  config.job.task = "flux";
  return config;
}
inline FluxRunConfig load_flux(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  return as_flux(*load_run_config(kFluxTask, path, overrides));
}

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
  FluxRunConfig load(const std::string& content, const std::vector<std::string>& overrides = {}) const {
    return load_flux(write(content), overrides);
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
