#include "download/retry.h"

#include <gtest/gtest.h>

#include "download/progress.h"

namespace millrace {
namespace {

TEST(Retry, WaitsLongerEachTimeAndEnds) {
  Retry retry({.retries = 5, .first_seconds = 1, .longest_seconds = 6});
  for (const double longest : {1.0, 2.0, 4.0, 6.0, 6.0}) {
    ASSERT_TRUE(retry.again(100));
    EXPECT_GE(retry.ready_at(), 100 + longest / 2);
    EXPECT_LE(retry.ready_at(), 100 + longest);
  }
  EXPECT_FALSE(retry.again(100));
  retry.made_progress();
  EXPECT_TRUE(retry.again(100));
  EXPECT_LE(retry.ready_at(), 101);
}

TEST(Retry, DoesWhatTheServerWants) {
  Retry retry({.retries = 1});
  ASSERT_TRUE(retry.again(100, 30));
  EXPECT_DOUBLE_EQ(retry.ready_at(), 130);
}

std::optional<double> wait(int status, std::map<std::string, std::string> headers) {
  return server_wait({.url = {}, .status = status, .headers = std::move(headers)},
                     1'792'567'680);  // 2026-10-21 07:28:00
}

TEST(Retry, ReadsWhatTheServerWants) {
  EXPECT_EQ(wait(503, {{"retry-after", "120"}}), 120);
  EXPECT_EQ(wait(503, {{"retry-after", "0"}}), 0);
  EXPECT_EQ(wait(429, {{"retry-after", "Wed, 21 Oct 2026 07:29:30 GMT"}}), 90);
  EXPECT_EQ(wait(429, {{"retry-after", "Wed, 21 Oct 2026 07:00:00 GMT"}}), 0) << "in the past";
  EXPECT_EQ(wait(429, {{"ratelimit", "\"api\";r=0;t=55"}}), 56);
  EXPECT_EQ(wait(429, {{"ratelimit", "\"api\";r=12;t=55"}}), std::nullopt) << "that limit is not the reason";
  EXPECT_EQ(wait(503, {{"ratelimit", "\"api\";r=0;t=55"}}), std::nullopt);
  for (const char* text : {"", "-1", "soon", "1e9", "12 s", "Wed, 21 Oct 2026 07:28:00 CET"}) {
    EXPECT_EQ(wait(503, {{"retry-after", text}}), std::nullopt) << text;
  }
}

TEST(Progress, SaysHowFarHowFastAndHowLong) {
  const DownloadProgress progress{
      .files = 57, .files_done = 12, .bytes = 4 << 20, .bytes_done = 1 << 20, .received = 0};
  EXPECT_EQ(progress_line(progress, 1 << 19, 0),
            "1.00 MiB of 4.00 MiB (25.0%)  512.00 KiB/s  ETA 0:06  12 of 57 files");
  const std::string text = progress_line(progress, 1 << 19, 0);
  EXPECT_EQ(progress_line(progress, 1 << 19, 200), "[######------------------] " + text);
  EXPECT_EQ(progress_line(progress, 1 << 19, 80), "[##------] " + text);
  EXPECT_EQ(progress_line(progress, 1 << 19, 70), text) << "no room for a bar";
  EXPECT_EQ(progress_line(progress, 1 << 19, 60), text.substr(0, 59));
  EXPECT_EQ(progress_line({.files = 1}, 0, 0), "0 B of 0 B (100.0%)  0 B/s  0 of 1 files");
}

TEST(Progress, RateFollowsTheLastSeconds) {
  RateMeter meter;
  uint64_t total = 0;
  for (int i = 0; i <= 200; ++i) meter.update(0.25 * i, total += 250);
  EXPECT_NEAR(meter.rate(), 1000, 1);
  for (int i = 1; i <= 200; ++i) meter.update(50 + 0.25 * i, total);
  EXPECT_LT(meter.rate(), 10);
}

}  // namespace
}  // namespace millrace
