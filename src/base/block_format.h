// Blocks of quantised numbers as GGUF files hold them: a few dozen small integers that share a scale.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace millrace {

enum class BlockFormat : uint8_t { kNone, kQ4_0, kQ4_1, kQ5_0, kQ5_1, kQ8_0, kQ4_K, kQ5_K, kQ6_K };

inline constexpr std::array kAllBlockFormats = {BlockFormat::kQ4_0, BlockFormat::kQ4_1, BlockFormat::kQ5_0,
                                                BlockFormat::kQ5_1, BlockFormat::kQ8_0, BlockFormat::kQ4_K,
                                                BlockFormat::kQ5_K, BlockFormat::kQ6_K};

// A block lies within one row: the last dimension is a multiple of `elements`.
struct BlockFormatInfo {
  std::string_view name;  // "Q4_0"
  uint32_t gguf_type;     // its number in GGUF files
  int64_t elements;       // of a block
  int64_t bytes;          // of a block
};

// Not for kNone.
const BlockFormatInfo& block_format_info(BlockFormat format);

}  // namespace millrace
