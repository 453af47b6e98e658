#include "formats/unusable_tensor.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <span>
#include <vector>

#include "formats/safetensors.h"

namespace millrace {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

std::optional<UnusableTensor> search(const std::vector<float>& first, const std::vector<uint16_t>& second,
                                     double largest = kInfinity) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "unusable.safetensors";
  const auto bytes = [](const auto& values) { return std::as_bytes(std::span(values)); };
  write_safetensors(path, std::vector{TensorView{"first", DType::kF32, {std::ssize(first)}, bytes(first)},
                                      TensorView{"second", DType::kBF16, {std::ssize(second)}, bytes(second)}});
  return first_unusable_tensor(WeightStore(path), nullptr, largest);
}

TEST(UnusableTensor, IsTheFirstWithANumberThatIsNotFinite) {
  EXPECT_FALSE(search({1, -2, 0}, {0x3F80}));
  const auto nan = search({1, kNan, kNan}, {0x7F80});
  ASSERT_TRUE(nan);
  EXPECT_EQ(nan->name, "first");
  EXPECT_EQ(nan->what, "2 of 3 numbers are nan");
  const auto infinite = search({1}, {0x3F80, 0xFF80});  // bf16: 1, -infinity
  ASSERT_TRUE(infinite);
  EXPECT_EQ(infinite->name, "second");
  EXPECT_EQ(infinite->what, "1 of 2 numbers is infinite");
}

TEST(UnusableTensor, MayHaveNumbersTooLargeToBeStored) {
  EXPECT_FALSE(search({464, -464}, {0x3F80}, 464));
  const auto large = search({1, -470}, {0x3F80}, 464);
  ASSERT_TRUE(large);
  EXPECT_EQ(large->what, "a magnitude of 470, where at most 464 can be stored");
}

}  // namespace
}  // namespace millrace
