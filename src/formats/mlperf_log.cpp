#include "formats/mlperf_log.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "formats/python_json.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const char* name_of(MlperfEventType type) {
  switch (type) {
    case MlperfEventType::kPoint:
      return "POINT_IN_TIME";
    case MlperfEventType::kStart:
      return "INTERVAL_START";
    case MlperfEventType::kEnd:
      return "INTERVAL_END";
  }
  MILLRACE_CHECK(false);
}

// A log does not reveal where the program was built.
std::string within_project(std::string_view file) {
  const size_t folder = file.rfind("/src/");
  return std::string(folder == std::string_view::npos ? file.substr(file.rfind('/') + 1) : file.substr(folder + 1));
}

// Bypasses stdio, which would fail again at the end of the program.
bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno != EINTR) return false;
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

void keep_old_file(const fs::path& path) {
  if (!fs::is_regular_file(path) || fs::file_size(path) == 0) return;
  for (int number = 1;; ++number) {
    fs::path kept = path;
    kept.replace_filename(str(path.stem().string(), ".", number, path.extension().string()));
    if (fs::exists(kept)) continue;
    fs::rename(path, kept);
    return;
  }
}

}  // namespace

std::string mlperf_line(const MlperfEvent& event, const std::source_location& source) {
  Json metadata{{"file", within_project(source.file_name())}, {"lineno", source.line()}};
  metadata.update(event.metadata);
  const Json line{{"namespace", ""},  {"time_ms", event.time_ms}, {"event_type", name_of(event.type)},
                  {"key", event.key}, {"value", event.value},     {"metadata", metadata}};
  return ":::MLLOG " + python_json(line);  // the checker reads Latin-1, and people search for '"key": "run_start"'
}

MlperfLog::MlperfLog(const fs::path& path, bool append) : path_(path) {
  try {
    if (!append) keep_old_file(path);
  } catch (const fs::filesystem_error& error) {
    throw StorageError("[" + path.string() + "] expected to keep the log of an older run, got: " + error.what());
  }
  file_.open(path, append ? std::ios::app : std::ios::trunc);
  if (!file_) throw StorageError("[" + path.string() + "] expected a file that can be written");
}

void MlperfLog::point(const std::string& key, const Json& value, const Json& metadata,
                      const std::source_location& source) {
  write({MlperfEventType::kPoint, key, value, metadata}, source);
}
void MlperfLog::start(const std::string& key, const Json& value, const Json& metadata,
                      const std::source_location& source) {
  write({MlperfEventType::kStart, key, value, metadata}, source);
}
void MlperfLog::end(const std::string& key, const Json& value, const Json& metadata,
                    const std::source_location& source) {
  write({MlperfEventType::kEnd, key, value, metadata}, source);
}

void MlperfLog::write(const MlperfEvent& event, const std::source_location& source) {
  MlperfEvent stamped = event;
  last_ms_ = std::max(last_ms_, unix_milliseconds());  // setting the clock back must not reorder the log
  stamped.time_ms = last_ms_;
  const std::string line = mlperf_line(stamped, source) + "\n";
  if (::isatty(STDOUT_FILENO) != 0) set_terminal_footer("");  // otherwise the line would follow a progress bar
  if (has_stdout_ && !write_all(STDOUT_FILENO, line)) {
    // Does not end the run: the file is the authoritative log.
    has_stdout_ = false;
    log_warning("standard output takes no more lines of the MLPerf log; ", path_.string(), " has them all");
  }
  file_ << line << std::flush;
  if (!file_) throw StorageError("[" + path_.string() + "] expected room for one more line, got a failed write");
}

}  // namespace millrace
