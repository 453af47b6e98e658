// `millrace --help`.
#pragma once

#include <string>

namespace millrace {

std::string program_help();

}  // namespace millrace
