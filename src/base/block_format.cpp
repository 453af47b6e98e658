#include "base/block_format.h"

#include "base/block_decode.h"
#include "base/error.h"

namespace millrace {
namespace {

template <typename Blocks>
constexpr BlockFormatInfo info(std::string_view name, uint32_t gguf_type) {
  return {name, gguf_type, Blocks::kElements, Blocks::kBytes};
}

// In the order of the enumerators.
constexpr std::array<BlockFormatInfo, kAllBlockFormats.size()> kInfos = {
    info<BlocksQ4_0>("Q4_0", 2),  info<BlocksQ4_1>("Q4_1", 3),  info<BlocksQ5_0>("Q5_0", 6),
    info<BlocksQ5_1>("Q5_1", 7),  info<BlocksQ8_0>("Q8_0", 8),  info<BlocksQ4_K>("Q4_K", 12),
    info<BlocksQ5_K>("Q5_K", 13), info<BlocksQ6_K>("Q6_K", 14),
};

}  // namespace

const BlockFormatInfo& block_format_info(BlockFormat format) {
  MILLRACE_CHECK(format != BlockFormat::kNone);
  return kInfos.at(static_cast<size_t>(format) - 1);
}

}  // namespace millrace
