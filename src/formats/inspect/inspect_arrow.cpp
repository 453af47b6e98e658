#include "base/error.h"
#include "formats/arrow_file.h"
#include "formats/inspect/inspect.h"
#include "formats/json.h"
#include "formats/quote.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

Report columns_report(const ArrowFile& file, const InspectOptions& options) {
  Report columns = Report::array();
  for (const auto& [name, type] : file.columns()) {
    if (options.is_wanted(name)) columns.push_back({{"name", as_utf8(name)}, {"type", as_utf8(type)}});
  }
  return columns;
}

// The description of the columns by `datasets`, if it wrote the file.
Report features_report(const ArrowFile& file) {
  const std::string text = file.metadata("huggingface");
  if (text.empty()) return Report::object();
  const nlohmann::json metadata = parse_json<DataError>(text, file.path().string() + " metadata");
  const nlohmann::json info = metadata.is_object() ? metadata.value("info", nlohmann::json()) : nlohmann::json();
  return info.is_object() ? info.value("features", nlohmann::json::object()) : nlohmann::json::object();
}

void add_sizes(Report& report, const ArrowFile& file) {
  report["row_count"] = file.num_rows();
  report["batch_count"] = file.num_batches();
  report["bytes"] = fs::file_size(file.path());
  if (!file.damage().empty()) report["damage"] = file.damage();
}

}  // namespace

Report inspect_arrow_file(const fs::path& path, const InspectOptions& options) {
  const ArrowFile file(path);
  Report report = {{"kind", "arrow"}, {"path", path.string()}};
  add_sizes(report, file);
  report["columns"] = columns_report(file, options);
  report["features"] = features_report(file);
  return report;
}

Report inspect_arrow_files(const std::string& path, const std::vector<fs::path>& files, const InspectOptions& options) {
  Report entries = Report::array(), columns = Report::array(), features = Report::object();
  int64_t rows = 0, damaged = 0;
  uint64_t bytes = 0;
  for (const fs::path& name : files) {
    Report entry = {{"name", as_utf8(name.filename().string())}, {"row_count", 0}, {"bytes", fs::file_size(name)}};
    // One bad file among many must not hide the others.
    try {
      const ArrowFile file(name);
      if (columns.empty()) {
        columns = columns_report(file, options);
        features = features_report(file);
      } else if (columns_report(file, options) != columns) {
        entry["damage"] = "its columns are not those of the first file";
      }
      add_sizes(entry, file);
    } catch (const DataError& error) {
      entry["damage"] = as_utf8(error.what());
    }
    damaged += entry.contains("damage");
    rows += entry["row_count"].get<int64_t>();
    bytes += entry["bytes"].get<uint64_t>();
    entries.push_back(std::move(entry));
  }
  return {{"kind", "arrow data set"},
          {"path", path},
          {"file_count", entries.size()},
          {"damaged_count", damaged},
          {"row_count", rows},
          {"bytes", bytes},
          {"columns", std::move(columns)},
          {"features", std::move(features)},
          {"files", std::move(entries)}};
}

}  // namespace millrace
