// One element of a tensor as a double, whatever its type: the input of statistics.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "formats/dtype.h"

namespace millrace {
namespace element {

template <typename T>
T load(const std::byte* bytes) {  // bytes may be unaligned
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

inline double bf16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

// A small IEEE-like float: sign, exponent, mantissa.
template <int kExponentBits, int kMantissaBits>
double small_float(uint32_t bits) {
  constexpr int kBias = (1 << (kExponentBits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> kMantissaBits) & ((1 << kExponentBits) - 1);
  const auto mantissa = static_cast<double>(bits & ((1u << kMantissaBits) - 1));
  const double sign = bits >> (kExponentBits + kMantissaBits) & 1 ? -1.0 : 1.0;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - kBias - kMantissaBits);
  return sign * std::ldexp(mantissa + (1 << kMantissaBits), exponent - kBias - kMantissaBits);
}

// Exponents of all ones are infinity and NaN.
template <int kExponentBits, int kMantissaBits>
double small_ieee_float(uint32_t bits) {
  constexpr uint32_t kOnes = (1u << kExponentBits) - 1;
  if ((bits >> kMantissaBits & kOnes) != kOnes) return small_float<kExponentBits, kMantissaBits>(bits);
  if (bits & ((1u << kMantissaBits) - 1)) return std::numeric_limits<double>::quiet_NaN();
  const bool negative = bits >> (kExponentBits + kMantissaBits) & 1;
  return negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
}

// The exponent is rebiased by a multiplication, which also makes subnormal numbers normal.
inline double f16(uint16_t bits) {
  const auto magnitude = static_cast<uint32_t>(bits & 0x7FFF);
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t shifted = magnitude << 13 | (magnitude >= 0x7C00 ? 0x7F800000u : 0);  // infinity and NaN are kept
  const float scaled = std::bit_cast<float>(shifted) * (magnitude >= 0x7C00 ? 1.0f : 0x1p112f);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | sign);
}
inline double f8_e5m2(uint8_t bits) {
  return small_ieee_float<5, 2>(bits);
}
// The "fn" variant of Micikevicius et al., "FP8 formats for deep learning" (2022): no infinity, one NaN per sign.
inline double f8_e4m3(uint8_t bits) {
  return (bits & 0x7F) == 0x7F ? std::numeric_limits<double>::quiet_NaN() : small_float<4, 3>(bits);
}

}  // namespace element

// Calls visit(double) for each of count elements. 64-bit integers above 2^53 are rounded.
template <typename Visit>
void for_each_element(DType dtype, const std::byte* bytes, size_t count, Visit visit) {
  const auto each = [&](auto example, auto convert) {
    using T = decltype(example);
    for (size_t i = 0; i < count; ++i) visit(static_cast<double>(convert(element::load<T>(bytes + i * sizeof(T)))));
  };
  const auto same = [](auto value) { return value; };
  switch (dtype) {
    case DType::kF64:
      return each(double{}, same);
    case DType::kF32:
      return each(float{}, same);
    case DType::kF16:
      return each(uint16_t{}, element::f16);
    case DType::kBF16:
      return each(uint16_t{}, element::bf16);
    case DType::kF8E4M3:
      return each(uint8_t{}, element::f8_e4m3);
    case DType::kF8E5M2:
      return each(uint8_t{}, element::f8_e5m2);
    case DType::kI64:
      return each(int64_t{}, same);
    case DType::kI32:
      return each(int32_t{}, same);
    case DType::kI16:
      return each(int16_t{}, same);
    case DType::kI8:
      return each(int8_t{}, same);
    case DType::kU64:
      return each(uint64_t{}, same);
    case DType::kU32:
      return each(uint32_t{}, same);
    case DType::kU16:
      return each(uint16_t{}, same);
    case DType::kU8:
      return each(uint8_t{}, same);
    case DType::kBool:
      return each(uint8_t{}, [](uint8_t value) { return value != 0; });
  }
  MILLRACE_CHECK(false);
}

}  // namespace millrace
