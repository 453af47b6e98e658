// Which program this is.
#pragma once

#include <string>

namespace millrace {

// "0.4.0"
const char* program_version();
// "0.4.0, build 1f83d9abfb41bd6b": differs between any two programs, so that ranks can tell.
std::string program_build();
// The same for ranks to compare; empty where there is one, for it reads the whole program.
std::string build_for_peers(int world_size);

}  // namespace millrace
