// SIGTERM, SIGINT, SIGHUP (a closed terminal) and SIGUSR1 request a checkpoint and an orderly end; a second
// one, at least a second later, exits immediately.
#pragma once

#include <signal.h>

#include <array>

namespace millrace {

inline constexpr std::array kStopSignals = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};

// Handlers are installed while the object lives; then the former ones are restored. SIGHUP stays ignored if it was
// (nohup).
class StopSignals {
 public:
  // Messages for stderr at the first signal, and at the one that ends the program. The texts must outlive the object.
  explicit StopSignals(const char* first = "stopping after this step with a checkpoint (again to exit at once)",
                       const char* second = "second signal, exiting without a checkpoint");
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // The signal that asked to stop, 0 when none has.
  int requested() const;

 private:
  std::array<struct sigaction, kStopSignals.size()> former_;
};

}  // namespace millrace
