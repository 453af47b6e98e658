#include "progress_bar.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr int kWidth = 30;
constexpr double kTerminalPeriod = 0.1;  // seconds
constexpr double kLogPeriod = 60;

}  // namespace

ProgressBar::ProgressBar(std::string unit)
    : unit_(std::move(unit)),
      is_terminal_(::isatty(STDERR_FILENO) != 0),
      start_(now_seconds()),
      last_shown_(is_terminal_ ? start_ - kTerminalPeriod : start_) {}

ProgressBar::~ProgressBar() {
  finish();
}

std::string ProgressBar::text(int64_t done, int64_t total, double now, bool with_bar) const {
  std::string line;
  if (with_bar && total > 0) {
    const auto filled =
        static_cast<size_t>(kWidth * static_cast<double>(std::min(done, total)) / static_cast<double>(total));
    line = std::string(filled, '#') + std::string(kWidth - filled, '.') + " ";
  }
  line += with_thousands(done) + (total > 0 ? "/" + with_thousands(total) : "") + " " + unit_;
  const double elapsed = now - start_;
  const auto fresh = static_cast<double>(done - done_earlier_);
  if (elapsed <= 0 || fresh <= 0) return line;
  line += format_double(", %.1f/s", fresh / elapsed);
  if (total > done) line += ", " + human_duration(elapsed / fresh * static_cast<double>(total - done)) + " left";
  return line;
}

void ProgressBar::update(int64_t done, int64_t total, bool is_new) {
  const std::lock_guard lock(mutex_);
  if (!is_new) done_earlier_ += done - done_;
  done_ = done;
  const double now = now_seconds();
  const bool is_last = done == total;
  if (is_finished_ || (now - last_shown_ < (is_terminal_ ? kTerminalPeriod : kLogPeriod) && !(is_last && is_terminal_)))
    return;
  last_shown_ = now;
  if (is_terminal_) {
    // A bar that a warning overwrites is redrawn after it.
    is_drawn_ = true;
    set_terminal_footer(text(done, total, now, true));
  } else {
    log_info(text(done, total, now, false));
  }
}

void ProgressBar::finish() {
  const std::lock_guard lock(mutex_);
  is_finished_ = true;
  if (is_drawn_) set_terminal_footer("");
  is_drawn_ = false;
}

}  // namespace millrace
