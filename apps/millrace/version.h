// Which program this is.
#pragma once

#include <string>

namespace millrace {

// "0.4.0"
const char* program_version();
// "0.4.0, build 1f83d9abfb41bd6b": differs between any two programs, so that ranks can tell.
std::string program_build();

}  // namespace millrace
