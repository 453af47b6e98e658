// Whether every rank is still alive. Each keeps a connection to rank 0 and a thread that sends its step once a second.
//
//   connection lost without goodbye      that rank died
//   no sign of life for train_timeout    that rank is stopped, or its machine is gone
//   announce_failure()                   that rank failed and said why
//
// In each case every rank prints one line that names rank, host and step, and exits within 10 s: the thread prints it,
// gives the main thread kGraceSeconds to exit (collectives and check() throw), then ends the process.
// The status is 7, or the one that the failed rank announced.
#pragma once

#include <string>

namespace millrace {

class Watch {
 public:
  static constexpr double kGraceSeconds = 3;

  virtual ~Watch() = default;
  virtual void set_step(int64_t step) = 0;
  // Tells all ranks that this one has failed; they print message and exit with exit_code. Call it once, before exiting.
  // Returns when rank 0 knows. Rank and host are prepended to message.
  virtual void announce_failure(const std::string& message, int exit_code) = 0;
  // Throws PeerLostError (or Error with the announced exit code) when another rank has failed. Cheap: call it anywhere.
  virtual void check() = 0;

  // True when message (the what() of an exception of check()) is already on stderr, so that it is not printed again.
  static bool was_printed(const std::string& message);
};

// For a single process, which has no other to watch.
class NoWatch : public Watch {
 public:
  void set_step(int64_t) override {}
  void announce_failure(const std::string&, int) override {}
  void check() override {}
};

}  // namespace millrace
