// SIGTERM, SIGINT and SIGUSR1 ask for a checkpoint and an orderly end; a second one, a second later or
// more, leaves at once.
#pragma once

#include <signal.h>

#include <array>

namespace millrace {

inline constexpr std::array kStopSignals = {SIGTERM, SIGINT, SIGUSR1};

// Handlers are in place while the object lives.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // The signal that asked to stop, 0 when none has.
  int requested() const;
};

}  // namespace millrace
