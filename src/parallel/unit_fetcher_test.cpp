#include "parallel/unit_fetcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace {
namespace {

using Direction = UnitFetcher::Direction;
using testing::ElementsAre;

constexpr size_t kUnits = 7;  // of the model; 1, 2, 4, 5 and 6 lie on the host, unit i with 10 i bytes of value i

std::map<size_t, torch::Tensor> host_units() {
  std::map<size_t, torch::Tensor> host;
  for (const int64_t unit : {1, 2, 4, 5, 6}) {
    host[static_cast<size_t>(unit)] = torch::full({10 * unit}, unit, torch::kUInt8);
  }
  return host;
}

// A pass over all units, as a model makes it, which reads the bytes of each. Returns which units were copied, in order:
// those that a buffer has and had not before.
std::vector<size_t> pass(UnitFetcher& fetcher, Direction direction) {
  std::vector<size_t> copied;
  std::vector<size_t> before = fetcher.held();
  const auto note_copies = [&] {
    const std::vector<size_t> now = fetcher.held();
    EXPECT_LE(now.size(), 2u);
    for (const size_t unit : now) {
      if (std::find(before.begin(), before.end(), unit) == before.end()) copied.push_back(unit);
    }
    before = now;
  };
  for (size_t i = 0; i < kUnits; ++i) {
    const size_t unit = direction == Direction::kForward ? i : kUnits - 1 - i;
    const bool is_offloaded = unit != 0 && unit != 3;
    torch::Tensor bytes;
    if (is_offloaded) bytes = fetcher.enter(unit);
    note_copies();
    fetcher.fetch_after(unit, direction);
    note_copies();
    if (!is_offloaded) continue;
    EXPECT_TRUE(at::equal(bytes, fetcher.host(unit))) << "a unit in use must not be written over";
    EXPECT_EQ(bytes[0].item<int64_t>(), static_cast<int64_t>(unit));
    fetcher.leave();
  }
  return copied;
}

TEST(UnitFetcher, HasTwoBuffersOfTheLargestUnit) {
  const UnitFetcher fetcher(host_units(), CopyStream(torch::kCPU));
  EXPECT_EQ(fetcher.buffer_bytes(), 2 * 60);
  EXPECT_TRUE(fetcher.held().empty());
}

TEST(UnitFetcher, FetchesInTheOrderOfThePassAndKeepsWhatItEndsWith) {
  UnitFetcher fetcher(host_units(), CopyStream(torch::kCPU));
  EXPECT_THAT(pass(fetcher, Direction::kForward), ElementsAre(1, 2, 4, 5, 6));
  EXPECT_THAT(fetcher.held(), ElementsAre(5, 6));
  EXPECT_THAT(pass(fetcher, Direction::kBackward), ElementsAre(4, 2, 1));
  EXPECT_THAT(fetcher.held(), ElementsAre(1, 2));
  EXPECT_THAT(pass(fetcher, Direction::kForward), ElementsAre(4, 5, 6));
  EXPECT_EQ(fetcher.copies(), 5 + 3 + 3);
}

TEST(UnitFetcher, ForwardPassesFollowEachOther) {
  UnitFetcher fetcher(host_units(), CopyStream(torch::kCPU));
  pass(fetcher, Direction::kForward);
  EXPECT_THAT(pass(fetcher, Direction::kForward), ElementsAre(1, 2, 4, 5, 6));
}

TEST(UnitFetcher, IsAheadByOneUnit) {
  UnitFetcher fetcher(host_units(), CopyStream(torch::kCPU));
  fetcher.fetch_after(0, Direction::kForward);
  EXPECT_THAT(fetcher.held(), ElementsAre(1)) << "before it is used";
  fetcher.enter(1);
  fetcher.fetch_after(1, Direction::kForward);
  EXPECT_THAT(fetcher.held(), ElementsAre(1, 2)) << "while 1 is in use";
  fetcher.leave();
  fetcher.enter(2);
  fetcher.fetch_after(2, Direction::kForward);
  EXPECT_THAT(fetcher.held(), ElementsAre(2, 4));
  fetcher.leave();
  fetcher.fetch_after(3, Direction::kForward);
  EXPECT_THAT(fetcher.held(), ElementsAre(2, 4)) << "4 is there for a unit on the device between them";
}

// An exception skips leave().
TEST(UnitFetcher, ServesAPassAfterAnAbortedOne) {
  UnitFetcher fetcher(host_units(), CopyStream(torch::kCPU));
  fetcher.enter(2);
  fetcher.fetch_after(2, Direction::kForward);
  EXPECT_THAT(pass(fetcher, Direction::kForward), ElementsAre(1, 4, 5, 6)) << "2 was still there";
}

TEST(UnitFetcher, OnTheMetaDeviceThereAreSizesAlone) {
  std::map<size_t, torch::Tensor> host;
  for (const size_t unit : {1, 2}) {
    host[unit] = torch::empty({1}, torch::dtype(torch::kUInt8).device(torch::kMeta)).expand({int64_t{1} << 40});
  }
  UnitFetcher fetcher(std::move(host), CopyStream(torch::kMeta));
  EXPECT_EQ(fetcher.enter(1).numel(), int64_t{1} << 40);
}

}  // namespace
}  // namespace millrace
