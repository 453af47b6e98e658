// Which random bits round which number of an optimizer's buffers.
#pragma once

#include "base/philox.h"

namespace millrace {

// Which of a buffer's numbers a stream of rounding bits is for: added to the stream's id above bit 62.
enum class RoundedTensor : uint64_t { kParam = 0, kExpAvg = 1, kExpAvgSq = 2 };

// Element i of the whole buffer takes 16 bits of word i/2 of the stream, the low ones if i is even; they are added
// below the bits that bf16 keeps, so that a carry rounds up.
inline RandomStream rounding_stream(uint64_t seed, int64_t step, uint64_t stream, RoundedTensor tensor) {
  return random_stream(seed, RandomPurpose::kStochasticRounding, static_cast<uint32_t>(step),
                       stream | (static_cast<uint64_t>(tensor) << 62));
}

}  // namespace millrace
