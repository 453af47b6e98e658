// A model's sizes from a file: the peer's config.json, or our own names as JSON or as the [model] table of a TOML file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace millrace {

// The object in a .json file, or, of a .toml file, the [model] table or the whole; at most 16 MiB. Throws ConfigError.
nlohmann::json read_config_file(const std::filesystem::path& path);

inline constexpr int64_t kMaxSize = int64_t{1} << 24;
inline constexpr int64_t kMaxLayers = 1000;

// Reads values by name, checking type and range; a ModelError names the file and the key.
class ConfigReader {
 public:
  // place: the file, for messages
  ConfigReader(std::string place, const nlohmann::json& values);

  // The nested object of that name if present (CLIP's text_config), else this.
  ConfigReader nested(const std::string& key) const;
  bool has(const std::string& key) const;  // present and not null

  // Sizes are 1 to 2^24 (kMaxSize), so that no file can make a product of two overflow. Without a fallback the key is
  // required.
  int64_t size(const std::string& key) const;
  int64_t size(const std::string& key, int64_t fallback) const;
  int64_t layers(const std::string& key, int64_t fallback) const;  // 1 to 1000
  int64_t integer(const std::string& key, int64_t fallback) const;
  std::vector<int64_t> sizes(const std::string& key, const std::vector<int64_t>& fallback) const;
  double number(const std::string& key, double fallback) const;  // finite
  double positive(const std::string& key, double fallback) const;
  bool boolean(const std::string& key, bool fallback) const;
  std::string text(const std::string& key, const std::string& fallback) const;

  const std::string& place() const { return place_; }
  [[noreturn]] void fail(const std::string& key, const std::string& expected) const;

 private:
  const nlohmann::json& value(const std::string& key) const;
  int64_t checked_size(const std::string& key, const nlohmann::json& value) const;

  std::string place_;
  std::shared_ptr<const nlohmann::json> values_;
};

}  // namespace millrace
