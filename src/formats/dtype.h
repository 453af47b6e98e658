// Element types of tensors in files, with their safetensors names.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace millrace {

enum class DType { kF64, kF32, kF16, kBF16, kF8E4M3, kF8E5M2, kI64, kI32, kI16, kI8, kU64, kU32, kU16, kU8, kBool };

inline constexpr std::array kAllDTypes = {DType::kF64,    DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3,
                                          DType::kF8E5M2, DType::kI64, DType::kI32, DType::kI16,  DType::kI8,
                                          DType::kU64,    DType::kU32, DType::kU16, DType::kU8,   DType::kBool};

size_t size_of(DType dtype);               // bytes of one element
std::string_view dtype_name(DType dtype);  // "F32", "BF16", "F8_E4M3", ...
std::optional<DType> parse_dtype(std::string_view name);
bool is_floating(DType dtype);

}  // namespace millrace
