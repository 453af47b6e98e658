#include "base/stream_copy.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace millrace {
namespace {

TEST(StreamCopy, CopiesAnySizeBetweenAnyAddressesAndNothingElse) {
  std::vector<unsigned char> source(600);
  std::iota(source.begin(), source.end(), static_cast<unsigned char>(1));
  for (const size_t size : {0, 1, 15, 63, 64, 65, 127, 128, 130, 200, 449}) {
    for (const size_t from : {0, 1, 8, 16, 63}) {
      for (const size_t to : {0, 1, 4, 16, 33, 63, 64}) {
        std::vector<unsigned char> target(600, 0), expected(600, 0);
        stream_copy(target.data() + to, source.data() + from, size);
        std::copy_n(source.begin() + static_cast<std::ptrdiff_t>(from), size,
                    expected.begin() + static_cast<std::ptrdiff_t>(to));
        ASSERT_EQ(target, expected) << size << " bytes from " << from << " to " << to;
      }
    }
  }
}

}  // namespace
}  // namespace millrace
