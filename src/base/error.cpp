#include "base/error.h"

#include <cstring>

namespace millrace {

void fail_check(const char* condition, const char* file, int line) {
  const char* base = std::strrchr(file, '/');
  throw LogicError(std::string("[") + (base ? base + 1 : file) + ":" + std::to_string(line) + "] expected " +
                   condition + " to hold (a bug in millrace, please report it)");
}

}  // namespace millrace
