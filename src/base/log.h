// Logging. spdlog stays behind this header: libtorch ships its own fmt, and no file may see both.
#pragma once

#include <filesystem>
#include <sstream>
#include <string>

namespace millrace {

enum class LogLevel { kInfo, kWarning, kError };

// Messages go to stderr and to the log file (one line each, with time and level); the file also gets those from before
// it was named.
void log_message(LogLevel level, const std::string& message);
// The lowest level shown on stderr, if above the file's: ranks other than the first show only warnings.
void set_console_log_level(LogLevel level);
// Appends to path from now on, instead of the file before. Throws StorageError when the file cannot be opened.
void log_to_file(const std::filesystem::path& path);
// A line for the log file only: the terminal shows the same through a progress bar.
void log_to_file_only(const std::string& message);
// While a progress bar owns the last terminal line, it is erased before each message and drawn again after it.
void set_terminal_footer(const std::string& footer);

namespace detail {
template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << parts);
  return stream.str();
}
}  // namespace detail

// str("step ", 3, " of ", 10): builds messages without a format string.
template <typename... Parts>
std::string str(const Parts&... parts) {
  return detail::concat(parts...);
}
template <typename... Parts>
void log_info(const Parts&... parts) {
  log_message(LogLevel::kInfo, detail::concat(parts...));
}
template <typename... Parts>
void log_warning(const Parts&... parts) {
  log_message(LogLevel::kWarning, detail::concat(parts...));
}
template <typename... Parts>
void log_error(const Parts&... parts) {
  log_message(LogLevel::kError, detail::concat(parts...));
}

}  // namespace millrace
