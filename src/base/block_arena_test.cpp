#include "base/block_arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

namespace millrace {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

TEST(BlockArena, SplitsAndJoinsBlocks) {
  BlockArena arena;
  std::byte* whole = arena.take(12 * kMiB);
  std::byte* after = arena.take(kMiB);
  EXPECT_EQ(after, whole + 12 * kMiB);
  arena.give_back(whole, 12 * kMiB);
  std::byte* first = arena.take(4 * kMiB);
  std::byte* second = arena.take(8 * kMiB);
  EXPECT_EQ(first, whole);
  EXPECT_EQ(second, whole + 4 * kMiB);
  EXPECT_EQ(arena.bytes_free(), 0u);
  arena.give_back(second, 8 * kMiB);
  arena.give_back(first, 4 * kMiB);
  EXPECT_EQ(arena.take(12 * kMiB), whole);
  arena.give_back(whole, 12 * kMiB);
  arena.give_back(after, kMiB);
  EXPECT_EQ(arena.bytes_free(), 13 * kMiB);
  // With what lies behind it, the one free block is large enough.
  EXPECT_EQ(arena.take(20 * kMiB), whole);
  EXPECT_EQ(arena.bytes_free(), 0u);
}

TEST(BlockArena, UntouchedMemoryIsZeroHoweverMuchIsFree) {
  BlockArena arena;
  std::byte* const used = arena.take(4 * kMiB);
  std::memset(used, 1, 4 * kMiB);
  arena.give_back(used, 4 * kMiB);
  for (const size_t size : {kMiB, 3 * kMiB, 700 * kMiB, 1030 * kMiB}) {  // the last two in segments of their own
    std::byte* const block = arena.take_untouched(size);
    for (size_t i = 0; i < size; i += kMiB / 2) ASSERT_EQ(block[i], std::byte{0}) << size;
    EXPECT_EQ(block[size - 1], std::byte{0});
  }
  EXPECT_EQ(arena.bytes_free(), 4 * kMiB);
  EXPECT_EQ(arena.take(4 * kMiB), used);
}

TEST(BlockArena, TakesTheSmallestBlockThatFits) {
  BlockArena arena;
  std::byte* large = arena.take(8 * kMiB);
  arena.take(kMiB);  // keeps them apart
  std::byte* small = arena.take(3 * kMiB);
  arena.take(kMiB);
  arena.give_back(large, 8 * kMiB);
  arena.give_back(small, 3 * kMiB);
  EXPECT_EQ(arena.take(3 * kMiB), small);
  EXPECT_EQ(arena.take(5 * kMiB), large);
}

TEST(BlockArena, BlocksNeverOverlapAndSegmentsMayBeFull) {
  BlockArena arena;
  std::mt19937 random(7);
  struct Block {
    size_t size;
    unsigned char mark;
  };
  std::map<std::byte*, Block> blocks;
  size_t in_use = 0, peak = 0;
  for (int i = 0; i < 1500; ++i) {
    if (blocks.size() > 40 || (!blocks.empty() && random() % 2 == 0)) {
      auto victim = std::next(blocks.begin(), static_cast<std::ptrdiff_t>(random() % blocks.size()));
      const auto [block, info] = *victim;
      for (const size_t at : {size_t{0}, info.size / 2, info.size - 1}) {
        ASSERT_EQ(static_cast<unsigned char>(block[at]), info.mark);
      }
      arena.give_back(block, info.size);
      in_use -= info.size;
      blocks.erase(victim);
    } else {
      const size_t size = (1 + random() % 20000) * BlockArena::kGranule;  // up to 80 MiB, several segments in all
      std::byte* block = arena.take(size);
      ASSERT_NE(block, nullptr);
      const auto next = blocks.lower_bound(block);
      if (next != blocks.end()) {
        ASSERT_LE(block + size, next->first);
      }
      if (next != blocks.begin()) {
        const auto& [before, info] = *std::prev(next);
        ASSERT_LE(before + info.size, block);
      }
      const auto mark = static_cast<unsigned char>(random());
      for (const size_t at : {size_t{0}, size / 2, size - 1}) block[at] = std::byte{mark};
      blocks[block] = {size, mark};
      in_use += size;
      peak = std::max(peak, in_use);
    }
  }
  EXPECT_LT(in_use + arena.bytes_free(), peak + peak / 2);
}

TEST(BlockArena, GivesFreeSegmentsBackWhenTheSystemHasNoMore) {
  BlockArena arena;
  std::byte* large = arena.take(700 * kMiB);
  std::byte* small = arena.take(kMiB);
  std::byte* other = arena.take(900 * kMiB);
  arena.give_back(large, 700 * kMiB);
  EXPECT_EQ(arena.take(size_t{1} << 47), nullptr);  // more than there is
  EXPECT_EQ(arena.bytes_free(), 0u);
  std::memset(small, 1, kMiB);
  other[0] = std::byte{1};
  other[900 * kMiB - 1] = std::byte{1};
  arena.give_back(small, kMiB);
  arena.give_back(other, 900 * kMiB);
  EXPECT_NE(arena.take(700 * kMiB), nullptr);
}

TEST(BlockArena, LargeBlocksHaveTheirOwnSegments) {
  BlockArena arena;
  std::byte* large = arena.take(700 * kMiB);
  ASSERT_NE(large, nullptr);
  arena.give_back(large, 700 * kMiB);
  EXPECT_EQ(arena.take(600 * kMiB), large);
  EXPECT_EQ(arena.bytes_free(), 100 * kMiB);
}

}  // namespace
}  // namespace millrace
