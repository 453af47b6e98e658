// metrics.jsonl: one JSON object per logged step, for programs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json_fwd.hpp>

namespace millrace {

class MetricsJsonl {
 public:
  // Drops lines of steps from first_step on, and a torn last line: a resumed run writes them again, so that its file
  // equals an uninterrupted run's.
  MetricsJsonl(const std::filesystem::path& path, int64_t first_step);

  // Appends one line and flushes it to the system. The object needs a "step".
  void write(const nlohmann::ordered_json& object);

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace millrace
