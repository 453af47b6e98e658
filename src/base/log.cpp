#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.h"

namespace millrace {
namespace {

// A run's log begins with what its start said before there was a folder to write to.
constexpr size_t kMaxEarlyMessages = 1000;
struct EarlyMessage {
  spdlog::log_clock::time_point time;
  spdlog::level::level_enum level;
  std::string text;
};

struct LogState {
  std::mutex mutex;
  std::shared_ptr<spdlog::logger> file;
  bool had_file = false;
  std::vector<EarlyMessage> early;  // until there is a file
  LogLevel console_level = LogLevel::kInfo;
  std::string footer;
};

LogState& state() {
  static LogState* instance = new LogState;  // outlives static destructors: threads may log until the very end
  return *instance;
}

const char* prefix(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return "";
    case LogLevel::kWarning:
      return "warning: ";
    case LogLevel::kError:
      return "error: ";
  }
  return "";
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

void draw_footer(const std::string& footer) {
  if (!footer.empty()) std::fprintf(stderr, "\r\x1b[2K%s", footer.c_str());
  std::fflush(stderr);
}

}  // namespace

void log_message(LogLevel level, const std::string& message) {
  LogState& log = state();
  const std::lock_guard lock(log.mutex);
  if (level >= log.console_level) {
    if (!log.footer.empty()) std::fputs("\r\x1b[2K", stderr);
    std::fprintf(stderr, "%s%s\n", prefix(level), message.c_str());
    draw_footer(log.footer);
  }
  if (log.file) log.file->log(to_spdlog(level), message);
  if (!log.had_file && log.early.size() < kMaxEarlyMessages) {
    log.early.push_back({spdlog::log_clock::now(), to_spdlog(level), message});
  }
}

void set_console_log_level(LogLevel level) {
  const std::lock_guard lock(state().mutex);
  state().console_level = level;
}

void log_to_file(const std::filesystem::path& path) {
  try {
    // Not registered by name: a process may log to the same file again.
    auto file =
        std::make_shared<spdlog::logger>("file", std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string()));
    file->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
    file->set_level(spdlog::level::debug);
    file->flush_on(spdlog::level::info);
    // A full disk, say. Other files matter more, and their writers report it.
    file->set_error_handler([shown = path.string(), said = false](const std::string& problem) mutable {
      if (!std::exchange(said, true)) {
        std::fprintf(stderr, "warning: [%s] expected room for a line, got: %s\n", shown.c_str(), problem.c_str());
      }
    });
    LogState& log = state();
    const std::lock_guard lock(log.mutex);
    for (const EarlyMessage& early : log.early) file->log(early.time, {}, early.level, early.text);
    log.early.clear();
    log.had_file = true;
    log.file = std::move(file);
  } catch (const spdlog::spdlog_ex& error) {
    throw StorageError("[" + path.string() + "] expected a log file that can be written, got: " + error.what());
  }
}

void log_to_file_only(const std::string& message) {
  const std::lock_guard lock(state().mutex);
  if (state().file) state().file->info(message);
}

void set_terminal_footer(const std::string& footer) {
  LogState& log = state();
  const std::lock_guard lock(log.mutex);
  if (footer.empty() && !log.footer.empty()) {
    std::fprintf(stderr, "\r\x1b[2K%s\n", log.footer.c_str());
    log.footer.clear();
    return;
  }
  log.footer = footer;
  draw_footer(log.footer);
}

}  // namespace millrace
