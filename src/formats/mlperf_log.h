// MLPerf's log: one line per event, ":::MLLOG " and a JSON object, as the package mlperf_logging writes it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <source_location>
#include <string>

namespace millrace {

enum class MlperfEventType { kPoint, kStart, kEnd };  // POINT_IN_TIME, INTERVAL_START, INTERVAL_END

struct MlperfEvent {
  MlperfEventType type = MlperfEventType::kPoint;
  std::string key;
  nlohmann::ordered_json value = nullptr;
  nlohmann::ordered_json metadata = nlohmann::ordered_json::object();  // beside file and lineno
  int64_t time_ms = 0;                                                 // since 1970, UTC
};

// The line without its newline, in Python's form (formats/python_json.h), pure ASCII: namespace, time_ms, event_type,
// key, value and metadata in this order, metadata beginning with the source's file (from "src/" on) and line.
// Non-finite numbers become null.
std::string mlperf_line(const MlperfEvent& event, const std::source_location& source = std::source_location::current());

// Writes lines to stdout and to a file, each immediately.
class MlperfLog {
 public:
  // An existing file is kept as "<stem>.1<extension>", or the next free number; with append it is continued.
  // Throws StorageError, as do the functions below.
  MlperfLog(const std::filesystem::path& path, bool append);

  void point(const std::string& key, const nlohmann::ordered_json& value,
             const nlohmann::ordered_json& metadata = nlohmann::ordered_json::object(),
             const std::source_location& source = std::source_location::current());
  void start(const std::string& key, const nlohmann::ordered_json& value,
             const nlohmann::ordered_json& metadata = nlohmann::ordered_json::object(),
             const std::source_location& source = std::source_location::current());
  void end(const std::string& key, const nlohmann::ordered_json& value,
           const nlohmann::ordered_json& metadata = nlohmann::ordered_json::object(),
           const std::source_location& source = std::source_location::current());

 private:
  void write(const MlperfEvent& event, const std::source_location& source);

  std::filesystem::path path_;
  std::ofstream file_;
  bool has_stdout_ = true;
  int64_t last_ms_ = 0;
};

}  // namespace millrace
