#include "data/sample_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "data/test_shards.h"

namespace millrace {
namespace {

PictureLoaderOptions options_for(const TestFolder& folder, int64_t batch_size = 4) {
  PictureLoaderOptions options;
  options.folder = folder.string();
  options.batch_size = batch_size;
  options.seed = 11;
  options.shuffle_buffer_size = 7;
  options.transform.size = 16;
  options.num_workers = 3;
  options.bad_samples.max_fraction = 1.0;
  return options;
}

// The number that a picture shows.
int number_in(const torch::Tensor& image_CHW) {
  const auto level = [&](int channel) {
    return static_cast<int>(std::lround((image_CHW[channel][0][0].item<float>() + 1) * 127.5));
  };
  return level(0) + 256 * level(1);
}

void expect_equal(const SampleBatch& got, const SampleBatch& expected) {
  EXPECT_EQ(got.captions, expected.captions);
  EXPECT_EQ(got.keys, expected.keys);
  EXPECT_EQ(got.sample_ids, expected.sample_ids);
  EXPECT_EQ(got.epochs, expected.epochs);
  EXPECT_EQ(got.end_of_data, expected.end_of_data);
  EXPECT_TRUE(torch::equal(got.fields[0], expected.fields[0]));
}

// What a run sees: captions and keys of many batches.
std::vector<std::string> keys_of(PictureLoader& loader, int batches) {
  std::vector<std::string> keys;
  for (int i = 0; i < batches; ++i) {
    const SampleBatch batch = loader.next();
    keys.insert(keys.end(), batch.keys.begin(), batch.keys.end());
  }
  return keys;
}

TEST(SampleLoader, ALastEpochComesOnceForAnyCountRanksAndBatch) {
  for (int count = 1; count <= 40; ++count) {
    const TestFolder folder;
    write_shards(folder, {count});
    for (int world_size = 1; world_size <= 4; ++world_size) {
      for (int64_t local_batch = 1; local_batch <= 3; ++local_batch) {
        std::vector<std::string> places(static_cast<size_t>(count));  // key by place in the order
        std::set<int64_t> num_batches;
        for (int rank = 0; rank < world_size; ++rank) {
          PictureLoaderOptions options = options_for(folder, local_batch * world_size);
          options.rank = rank;
          options.world_size = world_size;
          options.shuffle = false;
          options.epochs = 1;
          options.num_workers = 1;
          PictureLoader loader(options);
          int64_t index = 0, batches = 0;
          for (SampleBatch batch = loader.next(); !batch.end_of_data; batch = loader.next(), ++batches) {
            ASSERT_EQ(batch.rows.size(), batch.keys.size());
            for (size_t i = 0; i < batch.rows.size(); ++i) {
              std::string& place = places.at(static_cast<size_t>(index + batch.rows[i]));
              EXPECT_TRUE(place.empty()) << "twice: " << batch.keys[i];
              place = batch.keys[i];
            }
            index += batch.global_rows;
          }
          EXPECT_EQ(index, count);
          num_batches.insert(batches);
        }
        EXPECT_EQ(num_batches.size(), 1u) << "ranks with more batches than others would wait for ever";
        const std::set<std::string> distinct(places.begin(), places.end());
        EXPECT_TRUE(distinct.size() == places.size() && distinct.count("") == 0)
            << count << " samples, " << world_size << " ranks, batch " << local_batch;
      }
    }
  }
}

TEST(SampleLoader, PicturesAndCaptionsBelongTogether) {
  const TestFolder folder;
  write_shards(folder, {300, 5});
  PictureLoader loader(options_for(folder, 5));
  std::multiset<std::string> seen;
  for (int i = 0; i < 61; ++i) {
    const SampleBatch batch = loader.next();
    ASSERT_EQ(batch.fields[0].sizes(), (std::vector<int64_t>{5, 3, 16, 16}));
    ASSERT_EQ(batch.captions.size(), 5u);
    EXPECT_EQ(batch.global_rows, 5);
    for (size_t row = 0; row < 5; ++row) {
      const int number = number_in(batch.fields[0][static_cast<int64_t>(row)]);
      EXPECT_EQ(batch.captions[row], "picture " + std::to_string(number));
      EXPECT_EQ(batch.keys[row], numbered_key(number));
      EXPECT_EQ(batch.epochs[row], 0u);
      seen.insert(batch.keys[row]);
    }
  }
  EXPECT_EQ(seen.size(), 305u);
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), 305u);  // each once
  EXPECT_EQ(loader.next().epochs[0], 1u);
}

TEST(SampleLoader, OrderDependsOnTheSeedAndNotOnThreadsOrBatches) {
  const TestFolder folder;
  write_shards(folder, {9, 14, 3});
  PictureLoader reference(options_for(folder, 4));
  const std::vector<std::string> keys = keys_of(reference, 20);
  for (const auto& [batch, workers, prefetch] : {std::tuple{4, 1, 0}, {8, 4, 3}, {1, 2, 9}, {80, 3, 1}}) {
    PictureLoaderOptions options = options_for(folder, batch);
    options.num_workers = workers;
    options.prefetch_batches = prefetch;
    PictureLoader loader(options);
    EXPECT_EQ(keys_of(loader, 80 / batch), keys);
  }
  PictureLoaderOptions other = options_for(folder, 4);
  other.seed = 12;
  PictureLoader loader(other);
  EXPECT_NE(keys_of(loader, 20), keys);
}

TEST(SampleLoader, RanksShareTheBatchesOfOne) {
  const TestFolder folder;
  write_shards(folder, {9, 14, 3});
  for (const int ranks : {2, 3, 7}) {
    PictureLoader whole(options_for(folder, 6));
    std::vector<std::unique_ptr<PictureLoader>> parts;
    for (int rank = 0; rank < ranks; ++rank) {
      PictureLoaderOptions options = options_for(folder, 6);
      options.rank = rank;
      options.world_size = ranks;
      parts.push_back(std::make_unique<PictureLoader>(options));
    }
    for (int step = 0; step < 9; ++step) {
      const SampleBatch expected = whole.next();
      SampleBatch joined;
      std::vector<torch::Tensor> images;
      for (auto& part : parts) {
        const SampleBatch batch = part->next();
        EXPECT_EQ(batch.global_rows, 6);
        images.push_back(batch.fields[0]);
        joined.captions.insert(joined.captions.end(), batch.captions.begin(), batch.captions.end());
        joined.keys.insert(joined.keys.end(), batch.keys.begin(), batch.keys.end());
        joined.sample_ids.insert(joined.sample_ids.end(), batch.sample_ids.begin(), batch.sample_ids.end());
        joined.epochs.insert(joined.epochs.end(), batch.epochs.begin(), batch.epochs.end());
      }
      joined.fields = {torch::cat(images)};
      expect_equal(joined, expected);
    }
  }
}

TEST(SampleLoader, CropsDifferBetweenEpochs) {
  const TestFolder folder;
  write_shards(folder, {40});
  PictureLoader loader(options_for(folder, 40));
  std::map<std::string, torch::Tensor> first;
  const SampleBatch a = loader.next(), b = loader.next();
  for (size_t i = 0; i < 40; ++i) first[a.keys[i]] = a.fields[0][static_cast<int64_t>(i)];
  int different = 0;
  for (size_t i = 0; i < 40; ++i) different += !torch::equal(first[b.keys[i]], b.fields[0][static_cast<int64_t>(i)]);
  EXPECT_GT(different, 20);  // 4 of 5 draws
}

TEST(SampleLoader, AFiniteRunCountsEachSampleOnce) {
  const TestFolder folder;
  write_shards(folder, {9, 14});
  for (const int ranks : {1, 2, 3}) {
    std::multiset<std::string> seen;
    for (int rank = 0; rank < ranks; ++rank) {
      PictureLoaderOptions options = options_for(folder, 6);
      options.epochs = 1;
      options.shuffle = false;
      options.rank = rank;
      options.world_size = ranks;
      PictureLoader loader(options);
      for (int step = 0; step < 4; ++step) {
        const SampleBatch batch = loader.next();
        ASSERT_FALSE(batch.end_of_data);
        EXPECT_EQ(batch.global_rows, step < 3 ? 6 : 5);
        EXPECT_EQ(batch.fields[0].size(0), static_cast<int64_t>(batch.keys.size()));
        seen.insert(batch.keys.begin(), batch.keys.end());
      }
      EXPECT_TRUE(loader.next().end_of_data);
      EXPECT_TRUE(loader.next().end_of_data);
    }
    EXPECT_EQ(seen.size(), 23u);
    EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), 23u);
  }
}

TEST(SampleLoader, AFiniteRunOfWholeBatchesEndsWithoutAnEmptyOne) {
  const TestFolder folder;
  write_shards(folder, {12});
  PictureLoaderOptions options = options_for(folder, 6);
  options.epochs = 2;
  PictureLoader loader(options);
  for (int step = 0; step < 4; ++step) EXPECT_EQ(loader.next().keys.size(), 6u);
  EXPECT_TRUE(loader.next().end_of_data);
}

TEST(SampleLoader, SmallPicturesAreSkippedOrScaledUp) {
  const TestFolder folder;
  write_tar(folder / "a.tar", {{"a.png", numbered_png(1, 15, 40)},
                               {"a.txt", "small"},
                               {"b.png", numbered_png(2, 40, 16)},
                               {"b.txt", "large enough"}});
  PictureLoaderOptions options = options_for(folder, 4);
  options.epochs = 1;
  {
    PictureLoader loader(options);
    EXPECT_THAT(loader.next().keys, ::testing::ElementsAre("b"));
    EXPECT_TRUE(loader.next().end_of_data);
    EXPECT_EQ(loader.bad_samples().small, 1);
    EXPECT_EQ(loader.bad_samples().bad, 0);
  }
  options.skip_small = false;
  PictureLoader loader(options);
  EXPECT_EQ(loader.next().keys.size(), 2u);
}

TEST(SampleLoader, SaysWhatIsWrongWithItsOptions) {
  const TestFolder folder;
  EXPECT_THROW(PictureLoader{options_for(folder)}, DataError);  // empty folder
  write_shards(folder, {3});
  EXPECT_THROW(PictureLoader{options_for(folder, 0)}, ConfigError);
}

}  // namespace
}  // namespace millrace
