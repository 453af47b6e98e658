#include "base/error.h"

#include <cstring>

namespace millrace {

void throw_error(ExitCode code, const std::string& message) {
  switch (code) {
    case ExitCode::kPeerLost:
      throw PeerLostError(message);
    case ExitCode::kConfig:
      throw ConfigError(message);
    case ExitCode::kData:
      throw DataError(message);
    case ExitCode::kModel:
      throw ModelError(message);
    case ExitCode::kStorage:
      throw StorageError(message);
    case ExitCode::kNumerics:
      throw NumericsError(message);
    default:
      throw Error(code, message);
  }
}

void fail_check(const char* condition, const char* file, int line) {
  const char* base = std::strrchr(file, '/');
  throw LogicError(std::string("[") + (base ? base + 1 : file) + ":" + std::to_string(line) + "] expected " +
                   condition + " to hold (a bug in millrace, please report it)");
}

}  // namespace millrace
