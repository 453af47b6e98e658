#include "models/config_reader.h"

#include <toml++/toml.h>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/files.h"
#include "formats/json.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{16} << 20;

nlohmann::json parse_toml(const std::string& place, const std::string& content) {
  try {
    toml::table table = toml::parse(content, place);
    if (toml::table* model = table["model"].as_table()) table = toml::table(*model);
    std::ostringstream json;
    json << toml::json_formatter(table);
    return parse_json<ConfigError>(json.str(), place);
  } catch (const toml::parse_error& error) {
    throw ConfigError("[" + place + ":" + std::to_string(error.source().begin.line) + "] expected TOML, got " +
                      std::string(error.description()));
  }
}

}  // namespace

nlohmann::json read_config_file(const std::filesystem::path& path) {
  std::string content;
  try {
    content = read_file(path, kMaxFileBytes);
  } catch (const Error& error) {
    throw ConfigError(error.what());
  }
  return path.extension() == ".toml" ? parse_toml(path.string(), content)
                                     : parse_json<ConfigError>(content, path.string());
}

ConfigReader::ConfigReader(std::string place, const nlohmann::json& values)
    : place_(std::move(place)), values_(std::make_shared<nlohmann::json>(values)) {
  if (!values_->is_object()) throw ConfigError("[" + place_ + "] expected an object of names and values, got another");
}

ConfigReader ConfigReader::nested(const std::string& key) const {
  const auto found = values_->find(key);
  if (found == values_->end() || !found->is_object()) return *this;
  return ConfigReader(place_ + ": " + key, *found);
}

bool ConfigReader::has(const std::string& key) const {
  const auto found = values_->find(key);
  return found != values_->end() && !found->is_null();
}

void ConfigReader::fail(const std::string& key, const std::string& expected) const {
  const auto found = values_->find(key);
  const std::string got =
      found == values_->end() ? "nothing" : found->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  throw ModelError("[" + place_ + ": " + key + "] expected " + expected + ", got " + got.substr(0, 100));
}

const nlohmann::json& ConfigReader::value(const std::string& key) const {
  return values_->at(key);
}

int64_t ConfigReader::checked_size(const std::string& key, const nlohmann::json& value) const {
  // Some writers give whole numbers as floating point.
  const double number = value.is_number() ? value.get<double>() : NAN;
  if (!(number >= 1 && number <= static_cast<double>(kMaxSize)) || number != std::floor(number)) {
    fail(key, "a whole number from 1 to " + std::to_string(kMaxSize));
  }
  return static_cast<int64_t>(number);
}

int64_t ConfigReader::size(const std::string& key) const {
  if (!has(key)) fail(key, "a size");
  return checked_size(key, value(key));
}

int64_t ConfigReader::size(const std::string& key, int64_t fallback) const {
  return has(key) ? size(key) : fallback;
}

int64_t ConfigReader::layers(const std::string& key, int64_t fallback) const {
  const int64_t count = size(key, fallback);
  if (count > kMaxLayers) fail(key, "at most " + std::to_string(kMaxLayers));
  return count;
}

int64_t ConfigReader::integer(const std::string& key, int64_t fallback) const {
  if (!has(key)) return fallback;
  if (!value(key).is_number_integer()) fail(key, "a whole number");
  return value(key).get<int64_t>();
}

std::vector<int64_t> ConfigReader::sizes(const std::string& key, const std::vector<int64_t>& fallback) const {
  if (!has(key)) return fallback;
  if (!value(key).is_array() || value(key).empty() || value(key).size() > 64) fail(key, "a list of 1 to 64 sizes");
  std::vector<int64_t> result;
  for (const nlohmann::json& item : value(key)) result.push_back(checked_size(key, item));
  return result;
}

double ConfigReader::number(const std::string& key, double fallback) const {
  if (!has(key)) return fallback;
  if (!value(key).is_number() || !std::isfinite(value(key).get<double>())) fail(key, "a number");
  return value(key).get<double>();
}

double ConfigReader::positive(const std::string& key, double fallback) const {
  const double result = number(key, fallback);
  if (result <= 0) fail(key, "a number above 0");
  return result;
}

bool ConfigReader::boolean(const std::string& key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!value(key).is_boolean()) fail(key, "true or false");
  return value(key).get<bool>();
}

std::string ConfigReader::text(const std::string& key, const std::string& fallback) const {
  if (!has(key)) return fallback;
  if (!value(key).is_string()) fail(key, "text");
  return value(key).get<std::string>();
}

}  // namespace millrace
