// Conversion between numbers and text, independent of the locale and lossless.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace {

std::string number_text(double value);                              // shortest that reads back equal; 1.0 -> "1.0"
std::optional<int64_t> parse_integer(std::string_view text);        // the whole text, "1_000" as in TOML
std::optional<double> parse_floating_point(std::string_view text);  // finite or not, "1e-4", ".5"

}  // namespace millrace
