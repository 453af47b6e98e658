// SIGTERM, SIGINT, SIGHUP (a terminal that was closed) and SIGUSR1 ask for a checkpoint and an orderly end; a second
// one, a second later or more, leaves at once.
#pragma once

#include <signal.h>

#include <array>

namespace millrace {

inline constexpr std::array kStopSignals = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};

// Handlers are in place while the object lives, the former ones after it. SIGHUP stays ignored where it was: nohup.
class StopSignals {
 public:
  // What is written to stderr at the first signal, and at the one that ends the program. The texts must stay alive.
  explicit StopSignals(const char* first = "stopping after this step with a checkpoint (again to leave at once)",
                       const char* second = "second signal, leaving without a checkpoint");
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // The signal that asked to stop, 0 when none has.
  int requested() const;

 private:
  std::array<struct sigaction, kStopSignals.size()> former_;
};

}  // namespace millrace
