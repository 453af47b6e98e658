#include "version.h"

#include <cstdio>

#include "base/files.h"

namespace millrace {

const char* program_version() {
  return MILLRACE_VERSION;
}

std::string program_build() {
  const MappedFile program("/proc/self/exe");
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx",
                static_cast<unsigned long long>(checksum64(program.bytes().data(), program.bytes().size())));
  return std::string(program_version()) + ", build " + digits;
}

}  // namespace millrace
