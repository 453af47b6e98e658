#include "prepare/unit_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using testing::HasSubstr;

class UnitRunTest : public FolderTest {
 protected:
  // Units 0 to count-1, each with its own number as the result; done collects those that were worked on.
  UnitJob job(int64_t count) {
    UnitJob made;
    made.exists = [count](int64_t unit) { return unit < count; };
    made.work = [this](int64_t unit) -> UnitResult {
      const std::lock_guard lock(mutex_);
      done_.insert(unit);
      return {{"number", unit}};
    };
    return made;
  }
  static std::vector<int64_t> numbers(const std::vector<UnitResult>& results) {
    std::vector<int64_t> found;
    for (const UnitResult& result : results) found.push_back(result["number"].get<int64_t>());
    return found;
  }

  std::mutex mutex_;
  std::multiset<int64_t> done_;
};

TEST_F(UnitRunTest, GivesAllResultsInOrder) {
  open_unit_folder(path("job"), {{"a", 1}}, "test");
  EXPECT_THAT(numbers(run_units(path("job"), {0, 1, 4}, job(10))), testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8, 9));
  EXPECT_EQ(done_.size(), 10u);
  EXPECT_THAT(run_units(path("job"), {0, 1, 4}, job(10)), testing::SizeIs(10));
  EXPECT_EQ(done_.size(), 10u) << "nothing is done twice";
}

TEST_F(UnitRunTest, GoesOnAfterAFailure) {
  open_unit_folder(path("job"), {}, "test");
  UnitJob failing = job(10);
  const auto work = failing.work;
  failing.work = [&](int64_t unit) {
    if (unit == 6) throw DataError("unit 6");
    return work(unit);
  };
  EXPECT_THROW(run_units(path("job"), {0, 1, 1}, failing), DataError);
  EXPECT_THAT(done_, testing::ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(numbers(run_units(path("job"), {0, 1, 2}, job(10))).size(), 10u);
  EXPECT_EQ(done_.size(), 10u);
}

TEST_F(UnitRunTest, StopsWhenTheFirstUnitsAreEnough) {
  open_unit_folder(path("job"), {}, "test");
  UnitJob enough = job(1000);
  enough.is_enough = [](const std::vector<UnitResult>& first) { return first.size() >= 5; };
  EXPECT_THAT(numbers(run_units(path("job"), {0, 1, 1}, enough)), testing::ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(done_.size(), 5u);
  // While one thread is held up others may run ahead: how far is not known, but what counts is the same.
  open_unit_folder(path("other"), {}, "test");
  EXPECT_THAT(numbers(run_units(path("other"), {0, 1, 3}, enough)), testing::ElementsAre(0, 1, 2, 3, 4));
}

// A thread that looks for the first results must not take another's, just written, for those of an earlier run.
TEST_F(UnitRunTest, WhatThisRunHasDoneIsNew) {
  open_unit_folder(path("job"), {}, "test");
  UnitJob watched = job(500);
  watched.is_enough = [](const std::vector<UnitResult>&) { return false; };
  int64_t known_before = 0;
  watched.on_result = [&](const UnitResult&, bool is_new) { known_before += is_new ? 0 : 1; };
  EXPECT_THAT(run_units(path("job"), {0, 1, 4}, watched), testing::SizeIs(500));
  EXPECT_EQ(known_before, 0);
  run_units(path("job"), {0, 1, 4}, watched);
  EXPECT_EQ(known_before, 500);
}

TEST_F(UnitRunTest, AnyNumberOfRanksDoesEachUnitAndNobodyWaits) {
  open_unit_folder(path("job"), {}, "test");
  // Ranks 1 and 3 never come.
  EXPECT_THAT(run_units(path("job"), {2, 4, 1}, job(10)), testing::IsEmpty());
  EXPECT_THAT(done_, testing::ElementsAre(2, 6));
  EXPECT_EQ(numbers(run_units(path("job"), {0, 4, 2}, job(10))).size(), 10u);
  EXPECT_EQ(done_.size(), 10u);
}

TEST_F(UnitRunTest, ARankThatIsNoLongerNeededEndsQuietly) {
  open_unit_folder(path("job"), {}, "test");
  UnitJob late = job(4);
  late.work = [this](int64_t unit) -> UnitResult {
    remove_unit_folder(path("job"));
    return {{"number", unit}};
  };
  EXPECT_THAT(run_units(path("job"), {1, 2, 1}, late), testing::IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(path("job")));
  open_unit_folder(path("job"), {}, "test");
  EXPECT_THROW(run_units(path("job"), {0, 2, 1}, late), Error) << "the first rank cannot do without the folder";
}

TEST_F(UnitRunTest, RefusesOtherOptionsThanTheUnfinishedRunHas) {
  open_unit_folder(path("job"), {{"size", 256}, {"seed", 1}}, "prepare test");
  open_unit_folder(path("job"), {{"size", 256}, {"seed", 1}}, "prepare test");
  const auto message = message_of<ConfigError>([&] {
    open_unit_folder(path("job"), {{"size", 128}, {"seed", 1}}, "prepare test");
  });
  EXPECT_THAT(message, HasSubstr("the size of the unfinished run in this folder, 256, got 128"));
  EXPECT_THAT(message, HasSubstr(path("job").string()));
}

TEST_F(UnitRunTest, OnlyTheFirstRankBegins) {
  int asked = 0;
  EXPECT_FALSE(open_unit_folder(path("job"), {{"a", 1}}, "test", {1, 2, 1}, [&] { return ++asked == 3; }));
  EXPECT_FALSE(std::filesystem::exists(path("job")));
  EXPECT_TRUE(open_unit_folder(path("job"), {{"a", 1}}, "test", {0, 2, 1}));
  EXPECT_TRUE(open_unit_folder(path("job"), {{"a", 1}}, "test", {1, 2, 1}));
  EXPECT_THROW(open_unit_folder(path("job"), {{"a", 2}}, "test", {1, 2, 1}), ConfigError);
}

TEST_F(UnitRunTest, NoticesThatTheDiskWillNotDo) {
  open_unit_folder(path("job"), {}, "test");
  UnitJob large = job(10);
  const auto work = large.work;
  large.work = [&](int64_t unit) -> UnitResult {
    UnitResult result = work(unit);
    result["bytes"] = uint64_t{1} << 50;
    return result;
  };
  EXPECT_THAT(message_of<StorageError>([&] { run_units(path("job"), {0, 1, 1}, large); }), HasSubstr("1.00 PiB"));
  EXPECT_EQ(done_.size(), 1u);
  large.work = [&](int64_t unit) -> UnitResult {
    UnitResult result = work(unit);
    result["bytes"] = uint64_t{1} << 30;
    return result;
  };
  large.remaining = [] { return int64_t{1} << 20; };
  EXPECT_THAT(message_of<StorageError>([&] { run_units(path("job"), {0, 1, 1}, large); }), HasSubstr("1.00 PiB"));
}

}  // namespace
}  // namespace millrace
