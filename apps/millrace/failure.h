// Error messages and exit statuses of the program.
#pragma once

#include <exception>

namespace millrace {

// For a bug, a lack of memory or an error of a library: everything without an ExitCode.
inline constexpr int kUnexpectedFailure = 1;

// Prints one message to stderr and returns the exit status. Never throws.
int report_failure(const std::exception& error) noexcept;

}  // namespace millrace
