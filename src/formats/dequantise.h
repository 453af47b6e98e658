// The values of quantised blocks, bit for bit as gguf-py gives them.
#pragma once

#include <cstddef>
#include <span>

#include "base/block_format.h"

namespace millrace {

// blocks: whole blocks, unaligned; out: as many elements as they hold.
void dequantise_blocks(BlockFormat format, std::span<const std::byte> blocks, std::span<float> out);

}  // namespace millrace
