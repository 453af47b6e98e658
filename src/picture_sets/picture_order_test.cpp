// The order of batches, their split over ranks, and positions in them.
#include "picture_sets/picture_order.h"

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "base/error.h"

namespace millrace {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::SizeIs;

// A part of pictures in buckets of the given sizes, each picture repeated.
PicturePart part_of(const std::vector<uint32_t>& bucket_sizes, int64_t repeats) {
  PicturePart part;
  for (size_t bucket = 0; bucket < bucket_sizes.size(); ++bucket) {
    Bucket& filled = part.buckets.emplace_back();
    filled.resolution = {64 + 16 * static_cast<int64_t>(bucket), 64};
    for (uint32_t i = 0; i < bucket_sizes[bucket]; ++i) {
      const auto number = static_cast<uint32_t>(part.pictures.size());
      part.pictures.emplace_back().num_repeats = repeats;
      filled.pictures.insert(filled.pictures.end(), static_cast<size_t>(repeats), number);
    }
  }
  return part;
}

std::vector<PictureSet> two_sets() {
  std::vector<PictureSet> sets(2);
  sets[0].train = part_of({5, 3}, 2);
  sets[0].validation = part_of({3, 1}, 1);
  sets[0].options.batch_size = 4;
  sets[1].train = part_of({4}, 1);
  sets[1].validation = part_of({2}, 1);
  sets[1].options.batch_size = 3;
  return sets;
}

std::vector<uint64_t> ids_of(const std::vector<PlannedPictures>& plan) {
  std::vector<uint64_t> ids;
  for (const PlannedPictures& batch : plan) {
    for (const PlannedPicture& sample : batch.samples) ids.push_back(sample.id);
  }
  return ids;
}

TEST(PictureOrder, AnEpochHasEverySampleOnceInBatchesOfOneBucket) {
  const std::vector<PictureSet> sets = two_sets();
  const std::vector<PlannedPictures> plan = plan_epoch(sets, 1, 0);
  EXPECT_THAT(plan, SizeIs(3 + 2 + 2));  // of 10 and 6 samples by 4, and 4 by 3
  std::map<std::pair<size_t, uint32_t>, int> seen;
  for (const PlannedPictures& batch : plan) {
    EXPECT_LE(static_cast<int64_t>(batch.samples.size()), sets[batch.set].options.batch_size);
    const Bucket& bucket = sets[batch.set].train.buckets[batch.bucket];
    for (const PlannedPicture& sample : batch.samples) {
      EXPECT_THAT(bucket.pictures, testing::Contains(sample.picture));
      ++seen[{batch.set, sample.picture}];
    }
  }
  EXPECT_THAT(seen, SizeIs(8 + 4));
  for (const auto& [picture, times] : seen) EXPECT_EQ(times, picture.first == 0 ? 2 : 1);
}

TEST(PictureOrder, EveryRepeatHasAnIdOfItsOwn) {
  const std::vector<uint64_t> ids = ids_of(plan_epoch(two_sets(), 1, 0));
  const std::set<uint64_t> different(ids.begin(), ids.end());
  EXPECT_EQ(different.size(), 16 + 4);
  EXPECT_EQ(picture_sample_id(7, 0), 7);
  EXPECT_EQ(picture_sample_id(7, 3), (uint64_t{3} << 32) + 7);
  // Those of the second data set follow the first's.
  EXPECT_TRUE(different.contains(picture_sample_id(11, 0)));
  EXPECT_FALSE(different.contains(picture_sample_id(12, 0)));
}

TEST(PictureOrder, DependsOnSeedAndEpoch) {
  const std::vector<PictureSet> sets = two_sets();
  const std::vector<uint64_t> first = ids_of(plan_epoch(sets, 1, 0));
  EXPECT_EQ(ids_of(plan_epoch(sets, 1, 0)), first);
  EXPECT_NE(ids_of(plan_epoch(sets, 1, 1)), first);
  EXPECT_NE(ids_of(plan_epoch(sets, 2, 0)), first);
}

TEST(PictureOrder, DataSetsAreMixed) {
  // Over many epochs, each data set comes first at times.
  const std::vector<PictureSet> sets = two_sets();
  std::set<size_t> first;
  for (uint32_t epoch = 0; epoch < 40; ++epoch) first.insert(plan_epoch(sets, 1, epoch)[0].set);
  EXPECT_THAT(first, SizeIs(2));
}

TEST(PictureOrder, RanksShareARowEachOnce) {
  for (size_t rows : {0, 1, 4, 7}) {
    for (int ranks : {1, 2, 3, 5}) {
      size_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const PictureRows own = rows_of_rank(rows, rank, ranks);
        EXPECT_EQ(own.begin, next);
        EXPECT_LE(own.end - own.begin, (rows + static_cast<size_t>(ranks) - 1) / static_cast<size_t>(ranks));
        next = own.end;
      }
      EXPECT_EQ(next, rows);
    }
  }
}

TEST(PictureOrder, ResumesInTheMiddleOfAnEpoch) {
  const std::vector<PictureSet> sets = two_sets();
  PictureOrder whole(sets, 3);
  std::vector<PicturePosition> positions = {whole.position()};
  std::vector<std::vector<uint64_t>> batches;
  for (int i = 0; i < 20; ++i) {
    batches.push_back(ids_of({whole.next()}));
    positions.push_back(whole.position());
  }
  EXPECT_EQ(positions[20].epoch, 2);
  EXPECT_EQ(positions[20].batches, 20);
  for (const size_t at : {0, 3, 7, 13, 14, 19}) {
    PictureOrder resumed(sets, 3);
    resumed.seek(positions[at]);
    EXPECT_EQ(ids_of({resumed.next()}), batches[at]) << at;
    EXPECT_EQ(resumed.position(), positions[at + 1]) << at;
  }
}

TEST(PictureOrder, APositionBehindTheEpochIsRefused) {
  const std::vector<PictureSet> sets = two_sets();
  PictureOrder order(sets, 3);
  EXPECT_THROW(order.seek({0, 8, 8}), DataError);
}

TEST(PictureOrder, ValidationGoesThroughItsPicturesInOrderWhateverTheBatchSize) {
  const std::vector<PictureSet> sets = two_sets();
  for (const int64_t batch_size : {1, 2, 100}) {
    EXPECT_THAT(ids_of(plan_validation(sets, batch_size)), ElementsAre(0, 1, 2, 3, 4, 5)) << batch_size;
  }
  const std::vector<PlannedPictures> plan = plan_validation(sets, 2);
  EXPECT_THAT(plan, SizeIs(2 + 1 + 1));
  EXPECT_THAT(plan[0].samples, SizeIs(2));
}

}  // namespace
}  // namespace millrace
