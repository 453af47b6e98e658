#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/files.h"
#include "base/philox.h"
#include "base/text.h"
#include "base/thread_pool.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

TEST(Philox, MatchesTheKnownAnswersOfThePaper) {
  // Known-answer vectors of Random123 (kat_vectors, philox4x32 10).
  uint32_t words[4];
  philox_block({{0, 0}, 0, {0, 0}}, 0, words);
  EXPECT_EQ(words[0], 0x6627e8d5u);
  EXPECT_EQ(words[1], 0xe169c58du);
  EXPECT_EQ(words[2], 0xbc57ac4cu);
  EXPECT_EQ(words[3], 0x9b00dbd8u);
  philox_block({{0xa4093822u, 0x299f31d0u}, 0x85a308d3u, {0x13198a2eu, 0x03707344u}}, 0x243f6a88u, words);
  EXPECT_EQ(words[0], 0xd16cfe09u);
  EXPECT_EQ(words[1], 0x94fdccebu);
  EXPECT_EQ(words[2], 0x5001e420u);
  EXPECT_EQ(words[3], 0x24126ea1u);
}

TEST(Philox, LogAndSincosAreAccurate) {
  for (int i = 1; i <= (1 << 16); ++i) {
    const float u = static_cast<float>(i) / (1 << 16);
    EXPECT_NEAR(portable_log(u), std::log(static_cast<double>(u)), 2e-7 * (1 + std::fabs(std::log(u)))) << u;
    const float turn = static_cast<float>(i - 1) / (1 << 16);
    float sine, cosine;
    portable_sincos_turn(turn, &sine, &cosine);
    EXPECT_NEAR(sine, std::sin(2 * M_PI * turn), 2e-7) << turn;
    EXPECT_NEAR(cosine, std::cos(2 * M_PI * turn), 2e-7) << turn;
  }
}

TEST(Philox, NormalsHaveTheMomentsOfANormal) {
  const RandomStream stream = random_stream(1, RandomPurpose::kNoise, 0, 7);
  double moments[5] = {};
  const int count = 400000;
  for (int i = 0; i < count; ++i) {
    const double x = random_normal(stream, i);
    for (int k = 1; k <= 4; ++k) moments[k] += std::pow(x, k) / count;
  }
  EXPECT_NEAR(moments[1], 0, 0.01);
  EXPECT_NEAR(moments[2], 1, 0.02);
  EXPECT_NEAR(moments[3], 0, 0.03);
  EXPECT_NEAR(moments[4], 3, 0.06);
}

TEST(Checksum, MatchesXxh64) {
  EXPECT_EQ(checksum64("", 0), 0xEF46DB3751D8E999u);
  EXPECT_EQ(checksum64("a", 1), 0xD24EC4F1A98C6E5Bu);
  const std::string text = "Nobody inspects the spammish repetition";
  EXPECT_EQ(checksum64(text.data(), text.size()), 0xFBCEA83C8A378BF1u);
}

TEST(Text, NearestFindsMisspellingsOnly) {
  EXPECT_EQ(nearest("stpes", {"steps", "seed"}), "steps");
  EXPECT_EQ(nearest("zzzzzz", {"steps", "seed"}), "");
}

TEST(Text, Utf8RejectsOverlongAndSurrogates) {
  EXPECT_TRUE(is_valid_utf8("gr\xC3\xBC\xC3\x9F \xF0\x9F\x98\x80"));
  EXPECT_FALSE(is_valid_utf8("\xC0\x80"));
  EXPECT_FALSE(is_valid_utf8("\xED\xA0\x80"));
  EXPECT_FALSE(is_valid_utf8("\xF0\x9F\x98"));
}

TEST(Text, NumbersForPeople) {
  EXPECT_EQ(with_thousands(-1234567), "-1,234,567");
  EXPECT_EQ(with_thousands(999), "999");
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
  EXPECT_EQ(human_duration(3725), "1:02:05");
}

TEST(Files, AFailedWriteLeavesTheOldContent) {
  const fs::path folder = fs::temp_directory_path() / "millrace_base_test";
  fs::create_directories(folder);
  write_file_atomically(folder / "a", "old");
  set_write_hook_for_testing(
      [](const fs::path& path, size_t) { throw StorageError("[" + path.string() + "] disk full"); });
  EXPECT_THROW(write_file_atomically(folder / "a", "new"), StorageError);
  set_write_hook_for_testing(nullptr);
  EXPECT_EQ(read_file(folder / "a"), "old");
  int entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder)) ++entries;
  EXPECT_EQ(entries, 1);
  fs::remove_all(folder);
}

TEST(ThreadPool, CarriesResultsAndExceptions) {
  ThreadPool pool(3);
  auto sum = pool.submit([] { return 2 + 3; });
  auto failure = pool.submit([]() -> int { throw DataError("bad"); });
  EXPECT_EQ(sum.get(), 5);
  EXPECT_THROW(failure.get(), DataError);
}

}  // namespace
}  // namespace millrace
