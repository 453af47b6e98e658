#include "version.h"

#include "base/files.h"

namespace millrace {

const char* program_version() {
  return MILLRACE_VERSION;
}

std::string program_build() {
  const MappedFile program("/proc/self/exe");
  return std::string(program_version()) + ", build " +
         checksum_text(checksum64(program.bytes().data(), program.bytes().size()));
}

std::string build_for_peers(int world_size) {
  return world_size > 1 ? program_build() : "";
}

}  // namespace millrace
