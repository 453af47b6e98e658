// What machines can compute.
#pragma once

#include <optional>
#include <string_view>

namespace millrace {

// Peak dense bf16 FLOP/s of a GPU by its name as CUDA gives it (table: metrics/hardware.h); nothing when unknown:
// better no MFU than a wrong one.
std::optional<double> peak_flops(std::string_view device_name);

}  // namespace millrace
