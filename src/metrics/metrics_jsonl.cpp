#include "metrics/metrics_jsonl.h"

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/files.h"

namespace millrace {
namespace {

std::string lines_before(const std::filesystem::path& path, int64_t first_step) {
  std::ifstream old(path);
  std::string kept, line;
  while (std::getline(old, line)) {
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer()) continue;
    if (object["step"].get<int64_t>() < first_step) kept += line + "\n";
  }
  return kept;
}

}  // namespace

MetricsJsonl::MetricsJsonl(const std::filesystem::path& path, int64_t first_step) : path_(path) {
  write_file_atomically(path, lines_before(path, first_step));
  file_.open(path, std::ios::app);
  if (!file_) throw StorageError("[" + path.string() + "] expected a file that can be written");
}

void MetricsJsonl::write(const nlohmann::ordered_json& object) {
  file_ << object.dump() << "\n" << std::flush;
  if (!file_) throw StorageError("[" + path_.string() + "] expected room for one more line, got a failed write");
}

}  // namespace millrace
