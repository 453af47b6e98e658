// SIGTERM, SIGINT, SIGHUP (a closed terminal) and SIGUSR1 request a checkpoint and an orderly end; a second
// one, at least a second later, exits immediately.
#pragma once

#include <signal.h>

#include <array>
#include <cstddef>
#include <vector>

namespace millrace {

inline constexpr std::array kStopSignals = {SIGTERM, SIGINT, SIGUSR1, SIGHUP};

// Handlers are installed while the object lives; then the former ones are restored. SIGHUP stays ignored if it was
// (nohup). To be made and destroyed on the process's first thread, which gets the signals: the handlers run on a stack
// of their own there, because oneDNN's products of fp32 matrices keep numbers below the stack pointer, where the kernel
// would otherwise put a signal's frame.
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
  std::vector<std::byte> stack_;
  stack_t former_stack_{};
  std::array<struct sigaction, kStopSignals.size()> former_;
};

}  // namespace millrace
