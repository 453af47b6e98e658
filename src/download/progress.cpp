#include "download/progress.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr double kWindowSeconds = 10;
constexpr size_t kWidestBar = 24, kNarrowestBar = 6;

}  // namespace

void RateMeter::update(double now, uint64_t total) {
  if (last_time_ >= 0 && now > last_time_) {
    const double elapsed = now - last_time_;
    const double keep = std::exp(-elapsed / kWindowSeconds);
    sum_ = keep * sum_ + (1 - keep) * static_cast<double>(total - last_total_) / elapsed;
    weight_ = keep * weight_ + (1 - keep);
    rate_ = sum_ / weight_;
  }
  last_time_ = now;
  last_total_ = total;
}

std::string progress_line(const DownloadProgress& progress, double rate, int columns) {
  const double total = static_cast<double>(std::max<uint64_t>(progress.bytes, 1));
  const double fraction = progress.bytes == 0 ? 1.0 : std::min(1.0, static_cast<double>(progress.bytes_done) / total);
  std::string line = str(human_bytes(progress.bytes_done), " of ", human_bytes(progress.bytes), " (",
                         format_double("%.1f", std::floor(1000 * fraction) / 10), "%)  ",
                         human_bytes(static_cast<uint64_t>(rate)), "/s");
  const uint64_t left = progress.bytes - std::min(progress.bytes, progress.bytes_done);
  if (rate >= 1 && left > 0) line += "  ETA " + human_duration(static_cast<double>(left) / rate);
  line += str("  ", with_thousands(static_cast<int64_t>(progress.files_done)), " of ",
              with_thousands(static_cast<int64_t>(progress.files)), " files");
  if (columns <= 1) return line;
  // A line that wraps cannot be erased: the bar gives way first.
  const size_t widest = static_cast<size_t>(columns) - 1;
  const size_t bar = widest > line.size() + 3 ? std::min(kWidestBar, widest - line.size() - 3) : 0;
  if (bar >= kNarrowestBar) {
    const auto full = static_cast<size_t>(fraction * static_cast<double>(bar));
    line = "[" + std::string(full, '#') + std::string(bar - full, '-') + "] " + line;
  }
  line.resize(std::min(line.size(), widest));
  return line;
}

}  // namespace millrace
