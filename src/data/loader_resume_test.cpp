// Going on from a saved position: the batches that would have come.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/test_shards.h"

namespace millrace {
namespace {

// Three shards with good, small and damaged samples, so that positions fall beside all of them.
class LoaderResume : public ::testing::Test {
 protected:
  LoaderResume() {
    Members first = numbered_samples(0, 9);
    first.insert(first.begin() + 6, {"bad.png", "no picture"});
    first.emplace_back("small.png", numbered_png(99, 8, 8));
    first.emplace_back("small.txt", "small");
    write_tar(folder_ / "a.tar", first);
    Members second = numbered_samples(20, 5);
    second.emplace_back("late.png", numbered_png(98).replace(50, 4, "\xFF\xFF\xFF\xFF"));
    second.emplace_back("late.txt", "damaged behind its header");
    write_tar(folder_ / "b.tar", second);
    write_tar(folder_ / "c.tar", numbered_samples(40, 4));
  }

  PictureLoaderOptions options(int64_t batch_size) const {
    PictureLoaderOptions result;
    result.folder = folder_.string();
    result.batch_size = batch_size;
    result.seed = 5;
    result.shuffle_buffer_size = 6;
    result.transform.size = 16;
    result.num_workers = 2;
    result.bad_samples.max_fraction = 0.5;
    return result;
  }

  TestFolder folder_;
};

TEST_F(LoaderResume, AnyPositionGivesTheBatchesThatWouldHaveCome) {
  PictureLoader loader(options(4));
  std::vector<std::string> positions = {loader.position()};
  std::vector<SampleBatch> batches;
  std::vector<BadSampleReport> reports = {loader.bad_samples()};
  for (int i = 0; i < 20; ++i) {  // about four epochs
    batches.push_back(loader.next());
    positions.push_back(loader.position());
    reports.push_back(loader.bad_samples());
  }
  EXPECT_GT(batches.back().epochs.back(), 2u);
  EXPECT_GT(reports.back().bad, 4);
  for (size_t start = 0; start < positions.size() - 1; ++start) {
    PictureLoader resumed(options(4));
    if (start % 2 == 1) resumed.next();  // restoring also forgets what was in flight
    resumed.restore(positions[start]);
    EXPECT_EQ(resumed.position(), positions[start]);
    for (size_t i = start; i < std::min(start + 6, batches.size()); ++i) {
      const SampleBatch batch = resumed.next();
      ASSERT_EQ(batch.keys, batches[i].keys) << start << " " << i;
      ASSERT_EQ(batch.epochs, batches[i].epochs);
      ASSERT_TRUE(torch::equal(batch.fields[0], batches[i].fields[0]));
      EXPECT_EQ(resumed.position(), positions[i + 1]);
      EXPECT_EQ(resumed.bad_samples().bad, reports[i + 1].bad);
      EXPECT_EQ(resumed.bad_samples().seen, reports[i + 1].seen);
    }
  }
}

TEST_F(LoaderResume, TheSequenceGoesOnWithAnotherBatchSizeAndOtherRanks) {
  PictureLoader loader(options(6));
  loader.next();
  const std::string position = loader.position();
  std::vector<std::string> expected;
  for (int i = 0; i < 4; ++i) {
    const SampleBatch batch = loader.next();
    expected.insert(expected.end(), batch.keys.begin(), batch.keys.end());
  }
  std::vector<std::string> got(24);
  for (int rank = 0; rank < 2; ++rank) {
    PictureLoaderOptions other = options(12);
    other.rank = rank;
    other.world_size = 2;
    PictureLoader part(other);
    part.restore(position);
    for (int step = 0; step < 2; ++step) {
      const SampleBatch batch = part.next();
      ASSERT_EQ(batch.keys.size(), 6u);
      std::copy(batch.keys.begin(), batch.keys.end(), got.begin() + step * 12 + rank * 6);
    }
  }
  EXPECT_EQ(got, expected);
}

TEST_F(LoaderResume, AFiniteRunResumesToItsEnd) {
  PictureLoaderOptions finite = options(5);
  finite.epochs = 2;
  PictureLoader loader(finite);
  std::vector<std::string> positions;
  std::vector<size_t> left;
  size_t total = 0;
  while (true) {
    positions.push_back(loader.position());
    left.push_back(total);
    const SampleBatch batch = loader.next();
    if (batch.end_of_data) break;
    total += batch.keys.size();
  }
  EXPECT_EQ(total, 2u * 18u);
  for (size_t i = 0; i < positions.size(); ++i) {
    PictureLoader resumed(finite);
    resumed.restore(positions[i]);
    size_t seen = left[i];
    for (SampleBatch batch = resumed.next(); !batch.end_of_data; batch = resumed.next()) seen += batch.keys.size();
    EXPECT_EQ(seen, total) << i;
  }
}

TEST_F(LoaderResume, APositionOfAnotherRunIsRefused) {
  PictureLoader loader(options(4));
  loader.next();
  const std::string position = loader.position();
  PictureLoaderOptions other_seed = options(4), other_buffer = options(4);
  other_seed.seed = 6;
  other_buffer.shuffle_buffer_size = 60;
  for (const PictureLoaderOptions& other : {other_seed, other_buffer}) {
    PictureLoader wrong(other);
    EXPECT_THROW(wrong.restore(position), DataError);
  }
  for (const std::string text : {"", "[]", "{}", "{\"version\": 1}", "not json"}) {
    EXPECT_THROW(loader.restore(text), DataError) << text;
  }
  write_shards(folder_, {2});
  PictureLoader grown(options(4));
  EXPECT_THROW(grown.restore(position), DataError);
}

}  // namespace
}  // namespace millrace
