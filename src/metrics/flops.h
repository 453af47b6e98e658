// The speed of machines.
#pragma once

#include <optional>
#include <string_view>

namespace millrace {

// Peak dense bf16 FLOP/s of a GPU by its CUDA name (table: metrics/hardware.h); nullopt when unknown: no MFU is better
// than a wrong one.
std::optional<double> peak_flops(std::string_view device_name);

}  // namespace millrace
