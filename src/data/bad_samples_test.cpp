// Samples that cannot be used: skipped, counted, named, and not too many of them.
#include "data/bad_samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/test_shards.h"

namespace millrace {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

PictureLoaderOptions options_for(const TestFolder& folder, int64_t batch_size, double max_bad) {
  PictureLoaderOptions options;
  options.folder = folder.string();
  options.batch_size = batch_size;
  options.shuffle = false;
  options.transform.size = 16;
  options.num_workers = 2;
  options.bad_samples.max_fraction = max_bad;
  return options;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

// A sound header and damaged picture data.
std::string late_damage() {
  return numbered_png(7).replace(50, 4, "\xFF\xFF\xFF\xFF");
}

void write_mixed(const TestFolder& folder) {
  Members members = numbered_samples(0, 4);
  const Members bad = {{"nopicture.txt", "only words"},
                       {"nocaption.png", numbered_png(1)},
                       {"garbage.jpg", "these bytes are not a picture"},
                       {"garbage.txt", "caption"},
                       {"latin.png", numbered_png(2)},
                       {"latin.txt", "caf\xE9"},
                       {"emptyjson.png", numbered_png(3)},
                       {"emptyjson.json", "{\"title\": 1}"}};
  members.insert(members.end(), bad.begin(), bad.end());
  members.emplace_back("words.png", numbered_png(30));
  members.emplace_back("words.json", "{\"caption\": \"from json\"}");
  write_tar(folder / "mixed.tar", members);
}

TEST(BadSamples, AreSkippedCountedAndNamed) {
  const TestFolder folder;
  write_mixed(folder);
  PictureLoaderOptions options = options_for(folder, 5, 0.9);
  options.epochs = 1;
  PictureLoader loader(options);
  const SampleBatch batch = loader.next();
  EXPECT_THAT(batch.keys, ElementsAre("000000", "000001", "000002", "000003", "words"));
  EXPECT_EQ(batch.captions.back(), "from json");
  EXPECT_TRUE(loader.next().end_of_data);
  const BadSampleReport report = loader.bad_samples();
  EXPECT_EQ(report.seen, 10);
  EXPECT_EQ(report.bad, 5);
  std::vector<std::string> problems;
  for (const BadSample& sample : report.first) problems.push_back(sample.problem);
  EXPECT_THAT(problems,
              ElementsAre(HasSubstr("nopicture] expected a picture"), HasSubstr("nocaption] expected a caption"),
                          HasSubstr("garbage] expected a JPEG, PNG or WebP"),
                          HasSubstr("latin] expected a caption in UTF-8"), HasSubstr("emptyjson] expected a txt")));
}

TEST(BadSamples, AboveTheLimitTheRunStopsAndSaysWhy) {
  const TestFolder folder;
  write_mixed(folder);
  const std::string message = message_of([&] {
    PictureLoader loader(options_for(folder, 5, 0.1));
    for (int i = 0; i < 10; ++i) loader.next();
  });
  EXPECT_THAT(message, HasSubstr("expected at most 10 % bad samples, got 5 bad"));
  EXPECT_THAT(message, HasSubstr("mixed.tar: nopicture"));
  EXPECT_THAT(message, HasSubstr("max_bad_samples"));
  // At the limit itself it continues.
  PictureLoader loader(options_for(folder, 5, 0.5));
  for (int i = 0; i < 10; ++i) loader.next();
  EXPECT_EQ(loader.bad_samples().first.size(), 5u);  // each named once, however many epochs
}

TEST(BadSamples, ALargeSetIsJudgedBeforeItsEnd) {
  BadSampleCounter counter({.max_fraction = 0.1, .min_seen = 100, .max_named = 3});
  for (int i = 0; i < 95; ++i) i % 3 == 0 ? counter.add_bad(std::to_string(i), "x") : counter.add_usable();
  EXPECT_THROW(for (int i = 0; i < 20; ++i) counter.add_bad(std::to_string(i), "x"), DataError);
  EXPECT_EQ(counter.report().seen, 100);
  EXPECT_EQ(counter.report().first.size(), 3u);
  BadSampleCounter none({.max_fraction = 0});
  none.add_usable();
  EXPECT_THROW(none.add_bad("a", "x"), DataError);
}

TEST(BadSamples, NothingUsableIsAnErrorAndNoEndlessLoop) {
  const TestFolder folder;
  write_tar(folder / "a.tar", {{"a.png", numbered_png(1, 8, 8)}, {"a.txt", "small"}, {"b.txt", "no picture"}});
  const std::string message = message_of([&] { PictureLoader(options_for(folder, 2, 1.0)).next(); });
  EXPECT_THAT(message, HasSubstr("expected at least one usable sample in an epoch, got 1 bad and 1 too small of 2"));
  write_tar(folder / "a.tar", {});
  EXPECT_THAT(message_of([&] { PictureLoader(options_for(folder, 2, 1.0)).next(); }), HasSubstr("of 0"));
}

TEST(BadSamples, DamageBehindTheHeaderIsReplacedByTheNextSample) {
  const TestFolder folder;
  Members members = numbered_samples(0, 3);
  members.emplace_back("late.png", late_damage());
  members.emplace_back("late.txt", "late");
  const Members rest = numbered_samples(3, 4);
  members.insert(members.end(), rest.begin(), rest.end());
  write_tar(folder / "a.tar", members);
  for (const int ranks : {1, 2}) {
    std::vector<std::string> keys(8);
    int64_t bad = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      PictureLoaderOptions options = options_for(folder, 4, 0.5);
      options.rank = rank;
      options.world_size = ranks;
      PictureLoader loader(options);
      for (int step = 0; step < 2; ++step) {
        const SampleBatch batch = loader.next();
        for (size_t i = 0; i < batch.keys.size(); ++i) {
          keys[static_cast<size_t>(step * 4 + rank * 4 / ranks) + i] = batch.keys[i];
        }
      }
      bad += loader.bad_samples().bad;
    }
    EXPECT_THAT(keys, ElementsAre("000000", "000001", "000002", "000003", "000003", "000004", "000005", "000006"));
    EXPECT_EQ(bad, 1);
  }
  // Validation counts each good sample once instead.
  PictureLoaderOptions finite = options_for(folder, 4, 0.5);
  finite.epochs = 1;
  PictureLoader loader(finite);
  EXPECT_THAT(loader.next().keys, ElementsAre("000000", "000001", "000002"));
  EXPECT_THAT(loader.next().keys, ElementsAre("000003", "000004", "000005", "000006"));
  EXPECT_TRUE(loader.next().end_of_data);
}

TEST(BadSamples, ADamagedShardCountsOnceAndItsHeadIsUsed) {
  const TestFolder folder;
  write_tar(folder / "a.tar", numbered_samples(0, 6));
  std::string content = read_file(folder / "a.tar");
  content[content.find("000004.png") + 3] = 'X';  // its header's checksum is wrong now
  write_file_atomically(folder / "a.tar", content);
  PictureLoaderOptions options = options_for(folder, 8, 0.5);
  options.epochs = 1;
  PictureLoader loader(options);
  EXPECT_THAT(loader.next().keys, ElementsAre("000000", "000001", "000002", "000003"));
  loader.next();
  EXPECT_EQ(loader.bad_samples().bad, 1);
  EXPECT_THAT(loader.bad_samples().first[0].problem, HasSubstr("wrong checksum at byte"));
}

TEST(BadSamples, AFileThatIsNoTarStopsTheRunAtItsTurn) {
  const TestFolder folder;
  write_tar(folder / "a.tar", numbered_samples(0, 4));
  write_file_atomically(folder / "b.tar", "\x1F\x8B compressed " + std::string(1000, 'z'));
  PictureLoader loader(options_for(folder, 2, 1.0));
  EXPECT_EQ(loader.next().keys.size(), 2u);
  EXPECT_EQ(loader.next().keys.size(), 2u);
  EXPECT_THAT(message_of([&] { loader.next(); }), HasSubstr("b.tar] expected a tar archive"));
}

}  // namespace
}  // namespace millrace
