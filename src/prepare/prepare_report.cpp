#include "prepare/prepare_report.h"

#include "base/error.h"
#include "base/files.h"
#include "formats/json.h"

namespace millrace {
namespace {

constexpr const char* kName = ".prepare.json";
constexpr uint64_t kMaxReportBytes = uint64_t{1} << 30;

}  // namespace

void write_prepare_report(const std::filesystem::path& output, const UnitResult& report) {
  write_file_atomically(output / kName, report.dump(1) + "\n");
}

UnitResult read_prepare_report(const std::filesystem::path& output, const UnitResult& identity) {
  const std::filesystem::path file = output / kName;
  if (!std::filesystem::exists(file)) return nullptr;
  UnitResult report = parse_ordered_json<DataError>(read_file(file, kMaxReportBytes), file.string());
  if (!report.is_object() || report.value("options", UnitResult()) != identity) return nullptr;
  return report;
}

}  // namespace millrace
