// The check that every rule applies to its options.
#pragma once

namespace millrace {

// Throws ConfigError "[optimizer.<key>] expected <expected>, got <got>" unless good.
void require_option(bool good, const char* key, const char* expected, double got);

}  // namespace millrace
