// Which plain words YAML 1.1 takes for numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace millrace {

// Decimal, 0b101, 017, 0x1f, and 1:30 to the base 60; underscores between digits. nullopt also beyond 64 bits.
std::optional<int64_t> yaml_integer(std::string_view word);
// 1.5, 1., .5, 2e-5 (as OmegaConf; YAML 1.1 wants a dot), 1:30.5, .inf, .nan.
std::optional<double> yaml_float(std::string_view word);

}  // namespace millrace
