#include "formats/dequantise.h"

#include "base/block_decode.h"
#include "base/error.h"

namespace millrace {
namespace {

template <typename Blocks>
void decode_blocks(const uint8_t* blocks, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += Blocks::kElements, blocks += Blocks::kBytes) {
    decode_block<Blocks>(blocks, out.data() + i);
  }
}

}  // namespace

void dequantise_blocks(BlockFormat format, std::span<const std::byte> blocks, std::span<float> out) {
  const BlockFormatInfo& info = block_format_info(format);
  MILLRACE_CHECK(blocks.size() % static_cast<size_t>(info.bytes) == 0 &&
                 blocks.size() / static_cast<size_t>(info.bytes) * static_cast<size_t>(info.elements) == out.size());
  const auto* bytes = reinterpret_cast<const uint8_t*>(blocks.data());
  switch (format) {
    case BlockFormat::kNone:
      return;
    case BlockFormat::kQ4_0:
      return decode_blocks<BlocksQ4_0>(bytes, out);
    case BlockFormat::kQ4_1:
      return decode_blocks<BlocksQ4_1>(bytes, out);
    case BlockFormat::kQ5_0:
      return decode_blocks<BlocksQ5_0>(bytes, out);
    case BlockFormat::kQ5_1:
      return decode_blocks<BlocksQ5_1>(bytes, out);
    case BlockFormat::kQ8_0:
      return decode_blocks<BlocksQ8_0>(bytes, out);
    case BlockFormat::kQ4_K:
      return decode_blocks<BlocksQ4_K>(bytes, out);
    case BlockFormat::kQ5_K:
      return decode_blocks<BlocksQ5_K>(bytes, out);
    case BlockFormat::kQ6_K:
      return decode_blocks<BlocksQ6_K>(bytes, out);
  }
}

}  // namespace millrace
