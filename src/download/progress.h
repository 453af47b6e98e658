// Progress of a download, for display.
#pragma once

#include <string>

#include "download/downloader.h"

namespace millrace {

// Bytes per second over the last ten seconds or so.
class RateMeter {
 public:
  // total: bytes so far, never decreasing; now: in seconds.
  void update(double now, uint64_t total);
  double rate() const { return rate_; }

 private:
  double rate_ = 0;
  double last_time_ = -1;
  double weight_ = 0;  // of what has been seen, towards 1
  double sum_ = 0;
  uint64_t last_total_ = 0;
};

// "[#####---------------] 12.3 GiB of 45.6 GiB (26.9%)  83.1 MiB/s  ETA 6:50  12 of 57 files", shorter than columns:
// the bar shrinks first. No bar if columns is 0.
std::string progress_line(const DownloadProgress& progress, double rate, int columns);

}  // namespace millrace
