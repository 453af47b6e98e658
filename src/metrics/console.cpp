#include "metrics/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

// 1234.5 -> "1,234.50"
std::string with_thousands_and_cents(double value) {
  const std::string text = format_double("%.2f", value);
  const size_t point = text.find('.');
  if (point == std::string::npos || std::abs(value) >= 1e15) return text;  // not finite, or beyond integers
  return with_thousands(std::stoll(text.substr(0, point))) + text.substr(point);
}

std::string padded_to(std::string text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

// The common part of the lines of steps and validations.
std::string line_start(int64_t step, double loss, const MemoryUse& memory, double tokens_per_second) {
  const double used = static_cast<double>(memory.peak_bytes);
  const double percent = 100 * used / static_cast<double>(std::max<uint64_t>(memory.total_bytes, 1));
  return str("step: ", step < 10 ? " " : "", step, "  loss: ", padded_to(loss_text(loss), 7),
             "  memory: ", format_double("%5.2f", used / kGiB), "GiB(", format_double("%.2f", percent),
             "%)  tps: ", with_thousands(std::llround(tokens_per_second)));
}

}  // namespace

std::string loss_text(double loss) {
  return std::isnan(loss) ? "N/A" : format_double("%.4f", loss);
}

std::string step_line(int64_t step, double loss, const MemoryUse& memory, const WindowSpeed& speed) {
  const double mfu = speed.peak_flops > 0 ? 100 * speed.flops / speed.peak_flops : 0;
  std::string line = str(line_start(step, loss, memory, speed.tokens_per_second),
                         "  tflops: ", with_thousands_and_cents(speed.flops / 1e12),
                         "  mfu: ", speed.peak_flops > 0 ? format_double("%.2f", mfu) + "%" : "N/A");
  if (speed.trained_per_second > 0) line += "  trained tps: " + with_thousands(std::llround(speed.trained_per_second));
  if (speed.ranks > 1) {
    const double total = speed.tokens_per_second * static_cast<double>(speed.ranks);
    line += str("  total tps: ", with_thousands(std::llround(total)), " (", speed.ranks, " ranks)");
  }
  return line;
}

std::string validation_line(int64_t step, double loss, const MemoryUse& memory, double tokens_per_second) {
  return "validate " + line_start(step, loss, memory, tokens_per_second);
}

std::string progress_bar(const BarState& state, int columns) {
  const double total = static_cast<double>(std::max<int64_t>(state.total_steps, 1));
  const double fraction = std::clamp(static_cast<double>(state.step) / total, 0.0, 1.0);
  const auto bar = [&](int width) {
    const auto full = static_cast<size_t>(fraction * width);
    return std::string(full, '#') + std::string(static_cast<size_t>(width) - full, '-');
  };
  const double left = static_cast<double>(std::max<int64_t>(0, state.total_steps - state.step));
  const std::string time_left = human_duration(left * state.seconds_per_step),
                    step_time = format_double("%.2f", state.seconds_per_step) + " s/it",
                    memory = format_double("%.1f", static_cast<double>(state.memory_bytes) / kGiB) + " GiB";
  const auto line_of = [&](int width, bool with_speed) {
    if (state.reads_text) {
      return str(state.epoch, "|", state.step, "|Loss: ", loss_text(state.loss), ": ",
                 format_double("%3.0f", 100 * fraction), "%|", bar(width), "| ", state.step, "/", state.total_steps,
                 " [", human_duration(state.seconds), "<", time_left, ", ", step_time, ", ",
                 with_speed ? with_thousands(std::llround(state.tokens_per_second)) + " tok/s, " : "", memory, "]");
    }
    return str(width > 0 ? "[" + bar(width) + "] " : "", "step ", with_thousands(state.step), "/",
               with_thousands(state.total_steps), "  loss ", loss_text(state.loss), "  ", step_time,
               with_speed ? "  " + format_double("%.1f", state.samples_per_second) + " img/s" : "", "  ETA ", time_left,
               "  ", memory);
  };
  // Where columns are few the bar is the first to become shorter, and the speed the next to go.
  const auto fits = [&](const std::string& line) { return columns <= 1 || line.size() < static_cast<size_t>(columns); };
  int width = state.reads_text ? 10 : 24;
  std::string line = line_of(width, true);
  while (!fits(line) && width > 0) line = line_of(--width, true);
  if (!fits(line)) line = line_of(0, false);
  // A line that wraps cannot be erased.
  if (columns > 1 && line.size() >= static_cast<size_t>(columns)) line.resize(static_cast<size_t>(columns) - 1);
  return line;
}

int terminal_columns() {
  if (::isatty(STDERR_FILENO) == 0) return 0;
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

}  // namespace millrace
