// The one exception tree of the program. Libraries throw; only apps/ prints and exits.
//
// Messages follow `[place] expected X, got Y (try Z)`: name the file and the place in it, what was expected,
// what was found and, if possible, how to fix it.
#pragma once

#include <stdexcept>
#include <string>

namespace millrace {

// Exit statuses of the program; scripts and schedulers rely on them, never renumber.
enum class ExitCode : int {
  kDone = 0,
  kConfig = 2,      // configuration or command line
  kData = 3,        // data set or sample
  kModel = 4,       // model or tokenizer does not match
  kStorage = 5,     // disk full, checkpoint damaged
  kNumerics = 6,    // non-finite loss or gradient
  kPeerLost = 7,    // another rank failed or went silent
  kPreempted = 75,  // stopped by request after a checkpoint; start again to resume
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

struct ConfigError : Error {
  explicit ConfigError(const std::string& message) : Error(ExitCode::kConfig, message) {}
};
struct DataError : Error {
  explicit DataError(const std::string& message) : Error(ExitCode::kData, message) {}
};
struct ModelError : Error {
  explicit ModelError(const std::string& message) : Error(ExitCode::kModel, message) {}
};
struct StorageError : Error {
  explicit StorageError(const std::string& message) : Error(ExitCode::kStorage, message) {}
};
struct NumericsError : Error {
  explicit NumericsError(const std::string& message) : Error(ExitCode::kNumerics, message) {}
};
struct PeerLostError : Error {
  explicit PeerLostError(const std::string& message) : Error(ExitCode::kPeerLost, message) {}
};
struct Preempted : Error {
  explicit Preempted(const std::string& message) : Error(ExitCode::kPreempted, message) {}
};

// Rethrows another process's error: ConfigError for status 2, DataError for 3, ...
[[noreturn]] void throw_error(ExitCode code, const std::string& message);

// A broken promise between two parts of this program, never the user's fault.
struct LogicError : std::logic_error {
  using std::logic_error::logic_error;
};

[[noreturn]] void fail_check(const char* condition, const char* file, int line);

}  // namespace millrace

// For programmers' mistakes only; a user's mistake deserves one of the exceptions above.
#define MILLRACE_CHECK(condition) \
  (static_cast<bool>(condition) ? void(0) : ::millrace::fail_check(#condition, __FILE__, __LINE__))
