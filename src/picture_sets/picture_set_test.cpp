#include "picture_sets/picture_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "base/files.h"
#include "images/encode.h"
#include "picture_sets/batch_order.h"
#include "picture_sets/bucket_picture.h"
#include "picture_sets/golden_test_support.h"
#include "picture_sets/open_picture_sets.h"
#include "picture_sets/read_document.h"
#include "picture_sets/resolve.h"

namespace millrace {
namespace {

using testing::HasSubstr;

PictureSize size_of(const GoldenJson& pair) {
  return {pair[0].get<int64_t>(), pair[1].get<int64_t>()};
}

BucketRules rules_of(const GoldenJson& item) {
  BucketRules rules{.resolution = size_of(item["resolution"]), .enable_bucket = true};
  rules.min_bucket_reso = item["min_bucket_reso"];
  rules.max_bucket_reso = item["max_bucket_reso"];
  rules.bucket_reso_steps = item["bucket_reso_steps"];
  rules.bucket_no_upscale = item.value("bucket_no_upscale", false);
  adjust_bucket_limits(rules, "test");
  return rules;
}

TEST(AspectBuckets, AreThoseOfSdScripts) {
  const GoldenJson golden = read_golden("buckets/lists.json");
  ASSERT_FALSE(golden["cases"].empty());
  for (const GoldenJson& item : golden["cases"]) {
    const BucketRules rules = rules_of(item);
    EXPECT_EQ(rules.min_bucket_reso, item["adjusted"][0].get<int64_t>());
    EXPECT_EQ(rules.max_bucket_reso, item["adjusted"][1].get<int64_t>());
    std::vector<PictureSize> expected;
    for (const GoldenJson& size : item["buckets"]) expected.push_back(size_of(size));
    EXPECT_EQ(bucket_resolutions(rules), expected) << item["resolution"];
  }
}

TEST(AspectBuckets, AreChosenAsInSdScripts) {
  const GoldenJson golden = read_golden("buckets/select.json");
  for (const GoldenJson& item : golden["cases"]) {
    const BucketSelector selector(rules_of(item));
    for (const GoldenJson& picture : item["images"]) {
      const PictureSize size = {picture[0].get<int64_t>(), picture[1].get<int64_t>()};
      const std::optional<BucketChoice> choice = selector.select(size);
      ASSERT_EQ(choice.has_value(), picture.size() == 7) << picture;
      if (!choice) continue;
      EXPECT_EQ(choice->bucket, size_of(picture[2])) << picture;
      EXPECT_EQ(choice->resized, size_of(picture[3])) << picture;
      EXPECT_EQ(choice->crop_offset(), size_of(picture[4])) << picture;
      EXPECT_NEAR(choice->aspect_error, picture[5].get<double>(), 1e-12) << picture;
      const std::array<double, 4> crop = crop_ltrb(choice->bucket, size);
      for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(crop[i], picture[6][i].get<double>(), 1e-9) << picture;
    }
  }
}

// A folder with metadata_cache.json alone: sizes without pictures.
void write_sizes(const std::filesystem::path& folder, const GoldenJson& group) {
  std::vector<GoldenJson> sizes;
  if (group.contains("sizes")) sizes.assign(group["sizes"].begin(), group["sizes"].end());
  for (const GoldenJson& run : group.value("sizes_run_length", GoldenJson::array())) {
    sizes.insert(sizes.end(), run[1].get<size_t>(), run[0]);
  }
  GoldenJson cache;
  for (size_t i = 0; i < sizes.size(); ++i) {
    std::string number = std::to_string(i);
    number.insert(0, number.size() < 3 ? 3 - number.size() : 0, '0');
    cache[(folder / (number + ".png")).string()] = {{"caption", "a"}, {"resolution", sizes[i]}};
  }
  std::filesystem::create_directories(folder);
  write_file_atomically(folder / "metadata_cache.json", cache.dump());
}

std::vector<PictureSet> read_case(const GoldenJson& item, const std::filesystem::path& root) {
  GoldenJson document = {{"general", {{"cache_info", true}}}, {"datasets", GoldenJson::array()}};
  for (size_t i = 0; i < item["dataset"].size(); ++i) {
    GoldenJson dataset = item["dataset"][i];
    for (const GoldenJson& group : item["groups"][i]) {
      const std::filesystem::path folder = root / group["dir"].get<std::string>();
      write_sizes(folder, group);
      GoldenJson subset = {{"image_dir", folder.string()}};
      for (const char* key : {"num_repeats", "is_reg"}) {
        if (group.contains(key)) subset[key] = group[key];
      }
      dataset["subsets"].push_back(subset);
    }
    document["datasets"].push_back(dataset);
  }
  std::vector<PictureSet> sets;
  for (const DatasetOptions& options : resolve_datasets(parse_json_tree(document.dump(), "d.json"), "d.json")) {
    sets.push_back(read_picture_set(options, {.root = root}));
  }
  return sets;
}

GoldenJson bucket_info(const PicturePart& part) {
  GoldenJson info;
  for (const Bucket& bucket : part.buckets) {
    info.push_back(
        {{"resolution", {bucket.resolution.width, bucket.resolution.height}}, {"count", bucket.pictures.size()}});
  }
  return info;
}

TEST(PictureSet, CountsAsSdScriptsDoes) {
  const GoldenJson golden = read_golden("buckets/datasets.json");
  for (const GoldenJson& item : golden["cases"]) {
    const std::string name = item["name"];
    const std::filesystem::path root = std::filesystem::path(testing::TempDir()) / ("counts_" + name);
    const std::vector<PictureSet> sets = read_case(item, root);
    int64_t batches = 0, train = 0, reg = 0, validation_batches = 0, validation_images = 0;
    for (size_t i = 0; i < sets.size(); ++i) {
      const PictureSet& set = sets[i];
      const GoldenJson& expected = item["datasets"][i];
      EXPECT_EQ(set.train.num_batches(set.options.batch_size), expected["batches"].get<int64_t>()) << name;
      batches += set.train.num_batches(set.options.batch_size);
      train += set.num_train_images;
      reg += set.num_reg_images;
      validation_batches += set.validation.num_batches(set.options.batch_size);
      validation_images += set.validation.num_samples();
      if (set.options.enable_bucket) {
        GoldenJson buckets;
        for (const auto& [number, bucket] : expected["bucket_info"].items()) buckets.push_back(bucket);
        EXPECT_EQ(bucket_info(set.train), buckets) << name;
        EXPECT_NEAR(set.train.mean_aspect_error, expected["mean_img_ar_error"].get<double>(), 1e-12);
      }
      if (!expected.contains("reg_repeats_after_balancing")) continue;
      GoldenJson repeats;
      for (const Picture& picture : set.train.pictures) {
        if (picture.is_reg) {
          repeats.push_back({std::filesystem::relative(picture.file.key, root).string(), picture.num_repeats});
        }
      }
      EXPECT_EQ(repeats, expected["reg_repeats_after_balancing"]) << name;
    }
    EXPECT_EQ(batches, item["batches_per_epoch"].get<int64_t>()) << name;
    EXPECT_EQ(train, item["num_train_images"].get<int64_t>()) << name;
    EXPECT_EQ(reg, item["num_reg_images"].get<int64_t>()) << name;
    EXPECT_EQ(validation_batches, item.value("validation_batches", int64_t{0})) << name;
    EXPECT_EQ(validation_images, item.value("validation_images", int64_t{0})) << name;
    std::filesystem::remove_all(root);
  }
}

TEST(PythonBatchOrder, IsThatOfSdScripts) {
  int checked = 0;
  const GoldenJson golden = read_golden("buckets/datasets.json");
  for (const GoldenJson& item : golden["cases"]) {
    const GoldenJson& expected = item["datasets"][0];
    if (!expected.contains("batch_order_by_epoch_0_first_is_seed_0")) continue;
    const std::filesystem::path root = std::filesystem::path(testing::TempDir()) / "order";
    const PictureSet set = read_case(item, root)[0];
    PythonBatchOrder order(set.train, set.options.batch_size);
    for (const GoldenJson& epoch : expected["batch_order_by_epoch_0_first_is_seed_0"]) {
      GoldenJson names;
      for (const PictureBatch& batch : order.batches()) {
        GoldenJson row;
        for (const uint32_t picture : batch.pictures) {
          row.push_back(std::filesystem::relative(set.train.pictures[picture].file.key, root).string());
        }
        names.push_back(row);
      }
      EXPECT_EQ(names, epoch);
      order.next_epoch(item["dataset_seed"].get<int64_t>());
      ++checked;
    }
    std::filesystem::remove_all(root);
  }
  EXPECT_GE(checked, 4);
}

TEST(EpochBatches, HoldEverySampleOnceAndDependOnTheEpochAlone) {
  PicturePart part;
  part.buckets = {{{64, 64}, {0, 0, 1, 1, 2}}, {{128, 32}, {3, 4}}};
  const std::vector<PictureBatch> batches = epoch_batches(part, 2, 7, 0, 3);
  std::vector<uint32_t> all;
  for (const PictureBatch& batch : batches) all.insert(all.end(), batch.pictures.begin(), batch.pictures.end());
  EXPECT_THAT(all, testing::UnorderedElementsAre(0, 0, 1, 1, 2, 3, 4));
  EXPECT_EQ(batches.size(), 4u);
  const auto pictures_of = [&](uint32_t epoch) {
    std::vector<uint32_t> pictures;
    for (const PictureBatch& batch : epoch_batches(part, 2, 7, 0, epoch)) {
      pictures.insert(pictures.end(), batch.pictures.begin(), batch.pictures.end());
    }
    return pictures;
  };
  EXPECT_EQ(pictures_of(3), all);
  EXPECT_NE(pictures_of(4), all);
}

class Folder : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write_picture(const std::string& name, int width, int height) {
    Image image;
    image.reshape(width, height, 3);
    write_file_atomically(root_ / name, encode_png(image, {}, {}, 1));
  }
  PictureSet read(const SubsetOptions& subset) {
    DatasetOptions options{.resolution = {{64, 64}},
                           .enable_bucket = true,
                           .min_bucket_reso = 16,
                           .max_bucket_reso = 256,
                           .bucket_reso_steps = 16};
    options.subsets = {subset};
    options.subsets[0].image_dir = root_.string();
    return read_picture_set(options, {.num_threads = 2});
  }
  std::map<std::string, size_t> notices_of(const PictureSet& set) {
    std::map<std::string, size_t> counts;
    for (const Notice& notice : set.notices.all()) counts[notice.kind] += notice.places.size();
    return counts;
  }
  std::filesystem::path root_;
};

TEST_F(Folder, GivesEveryPictureItsCaption) {
  const GoldenJson golden = read_golden("captions/caption_files.json");
  for (const GoldenJson& name : golden["images"]) write_picture(name, 64, 64);
  for (const auto& [name, text] : golden["files"].items()) write_file_atomically(root_ / name, text.get<std::string>());
  for (const GoldenJson& item : golden["cases"]) {
    SubsetOptions subset;
    subset.caption_extension = item["subset"].value("caption_extension", subset.caption_extension);
    subset.enable_wildcard = item["subset"].value("enable_wildcard", false);
    if (item["subset"].contains("class_tokens"))
      subset.class_tokens = item["subset"]["class_tokens"].get<std::string>();
    const PictureSet set = read(subset);
    GoldenJson captions;
    for (const Picture& picture : set.train.pictures) {
      captions[std::filesystem::path(picture.file.path).filename().string()] = picture.file.caption;
    }
    EXPECT_EQ(captions, item["captions"]) << item["subset"];
    EXPECT_EQ(nlohmann::json(set.tag_counts[0]), nlohmann::json(item["tag_frequency"])) << item["subset"];
  }
}

TEST_F(Folder, LeavesOutOneUnreadablePictureOfMany) {
  for (int i = 0; i < 40; ++i) write_picture(std::to_string(i) + ".png", 64, 64);
  write_file_atomically(root_ / "17.png", "no picture");
  const PictureSet set = read({});
  EXPECT_EQ(set.num_train_images, 39);
  EXPECT_EQ(notices_of(set)["unreadable_picture"], 1u);
  EXPECT_NO_THROW(check_trainable({set}));
}

TEST_F(Folder, NotesWhatIsOdd) {
  write_picture("a.png", 64, 64);
  write_picture("b.png", 20, 20);
  write_picture("c.png", 1, 300);
  write_picture("d.jpg", 64, 64);
  write_picture("d.png", 64, 64);
  write_picture("e.gif", 64, 64);
  write_file_atomically(root_ / "a.caption", "a");
  const std::map<std::string, size_t> notices = notices_of(read({}));
  EXPECT_EQ(notices.at("no_caption"), 4u);
  EXPECT_EQ(notices.at("enlarged"), 1u);
  EXPECT_EQ(notices.at("much_enlarged"), 1u);
  EXPECT_EQ(notices.at("same_stem"), 1u);
  EXPECT_EQ(notices.at("other_ending"), 1u);
}

// As sd-scripts does, which repeats no picture of the validation.
TEST_F(Folder, WithoutRepeatsIsValidatedOnAllTheSame) {
  for (int i = 0; i < 4; ++i) write_picture(std::to_string(i) + ".png", 64, 64);
  for (const double split : {0.0, 0.5}) {
    DatasetOptions options{.resolution = {{64, 64}}, .validation_split = split};
    options.subsets.emplace_back();
    options.subsets[0].image_dir = root_.string();
    options.subsets[0].num_repeats = 0;
    const PictureSet set = read_picture_set(options, {.root = root_});
    EXPECT_EQ(set.train.num_samples(), 0);
    EXPECT_EQ(set.validation.num_samples(), split == 0 ? 0 : 2);
    EXPECT_EQ(notices_of(set).at("no_repeats"), 1u);
    EXPECT_TRUE(set.tag_counts[0].empty());
  }
}

TEST_F(Folder, RefusesToTrainOnNothing) {
  const PictureSet set = read({});
  EXPECT_EQ(notices_of(set)["no_pictures"], 1u);
  EXPECT_THROW(check_trainable({set}), DataError);
}

TEST_F(Folder, JoinsCaptionAndTagsOfMetadata) {
  write_picture("a.png", 64, 64);
  write_file_atomically(
      root_ / "m.json",
      R"({"a": {"caption": "a cat", "tags": "X, y"}, "longer.png": {"tags": "z", "image_size": [64, 64]}})");
  DatasetOptions options{.style = CaptionStyle::kMetadata, .resolution = {{64, 64}}};
  options.subsets.emplace_back();
  options.subsets[0].image_dir = root_.string();
  options.subsets[0].metadata_file = "m.json";
  const PictureSet set = read_picture_set(options, {.root = root_});
  ASSERT_EQ(set.train.pictures.size(), 2u);
  EXPECT_EQ(set.train.pictures[0].file.caption, "z");
  EXPECT_EQ(set.train.pictures[1].file.caption, "a cat,X, y");
  EXPECT_EQ(set.tag_counts[0], (std::map<std::string, int64_t>{{"x", 1}, {"y", 1}, {"z", 1}}));
}

TEST_F(Folder, APicturesOwnSizeCountsBeforeThatOfMetadata) {
  write_picture("edited.png", 32, 64);
  write_picture("same.png", 64, 64);
  write_file_atomically(root_ / "m.json", R"({"edited.png": {"caption": "a", "image_size": [64, 32]},
                                              "same.png": {"caption": "b", "image_size": [64, 64]},
                                              "gone.png": {"caption": "c", "image_size": [16, 16]}})");
  DatasetOptions options{.style = CaptionStyle::kMetadata, .resolution = {{64, 64}}};
  options.subsets.emplace_back();
  options.subsets[0].image_dir = root_.string();
  options.subsets[0].metadata_file = "m.json";
  const PictureSet set = read_picture_set(options, {.root = root_});
  std::map<std::string, PictureSize> sizes;
  for (const Picture& picture : set.train.pictures) sizes[picture.file.key] = picture.size;
  EXPECT_EQ(sizes, (std::map<std::string, PictureSize>{
                       {"edited.png", {32, 64}}, {"same.png", {64, 64}}, {"gone.png", {16, 16}}}));
  EXPECT_EQ(notices_of(set),
            (std::map<std::string, size_t>{{"enlarged", 2}, {"missing_picture", 1}, {"other_size", 1}}));
}

TEST_F(Folder, CaptionsAreKeptWithCacheInfo) {
  const std::filesystem::path a = root_ / "a.png", b = root_ / "b.png", cache = root_ / "metadata_cache.json";
  write_picture("a.png", 64, 32);
  write_picture("b.png", 32, 32);
  write_file_atomically(root_ / "a.caption", "a cat");
  write_file_atomically(root_ / "set.toml", "[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = \"" +
                                                root_.string() + "\"\ncache_info = true\n");
  open_picture_sets(root_ / "set.toml", {});
  EXPECT_FALSE(std::filesystem::exists(cache)) << "it is written where the settings say so";
  open_picture_sets(root_ / "set.toml", {.writes_info = true});
  GoldenJson expected;
  expected[a.string()] = {{"caption", "a cat"}, {"resolution", {64, 32}}};
  expected[b.string()] = {{"caption", ""}, {"resolution", {32, 32}}};
  EXPECT_EQ(GoldenJson::parse(read_file(cache)), expected);

  write_file_atomically(root_ / "a.caption", "a dog");
  std::filesystem::last_write_time(root_ / "a.caption",
                                   std::filesystem::last_write_time(cache) + std::chrono::seconds(1));
  write_picture("c.png", 32, 32);
  const PictureSet set = open_picture_sets(root_ / "set.toml", {.writes_info = true})[0];
  EXPECT_EQ(set.train.pictures.size(), 2u);
  EXPECT_EQ(set.train.pictures[0].file.caption, "a cat");
  EXPECT_EQ(notices_of(set).at("old_info_cache"), 1u);
  EXPECT_EQ(notices_of(set).at("not_in_info_cache"), 1u);
}

TEST_F(Folder, APictureMayBeTooLongForAnyBucket) {
  write_file_atomically(root_ / "m.json", R"({"long.png": {"caption": "a", "image_size": [1, 1000000]}})");
  DatasetOptions options{.style = CaptionStyle::kMetadata, .resolution = {{4096, 4096}}};
  options.subsets.emplace_back();
  options.subsets[0].image_dir = root_.string();
  options.subsets[0].metadata_file = "m.json";
  const PictureSet set = read_picture_set(options, {.root = root_});
  EXPECT_EQ(set.train.num_samples(), 0);
  EXPECT_EQ(notices_of(set).at("no_bucket"), 1u);
  try {
    check_trainable({set});
    ADD_FAILURE();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("expected pictures to train on, got none"));
    EXPECT_THAT(error.what(), testing::ContainsRegex("long.png\\] expected .*: (no bucket fits, )?left out"));
  }
}

TEST_F(Folder, LoadsAPictureAsLargeAsItsBucket) {
  write_picture("a.png", 90, 50);
  write_picture("b.png", 1, 3000);
  const PictureSet set = read({});
  SubsetOptions subset;
  for (const Picture& picture : set.train.pictures) {
    subset.random_crop = false;
    EXPECT_EQ(draw_augmentation(picture, subset, augmentation_stream(1, 0, 0)).offset, picture.choice.crop_offset());
    subset.random_crop = subset.flip_aug = true;
    const Augmentation drawn = draw_augmentation(picture, subset, augmentation_stream(1, 0, 0));
    EXPECT_EQ(draw_augmentation(picture, subset, augmentation_stream(1, 0, 0)).offset, drawn.offset);
    const Image image = load_for_bucket(picture, drawn);
    EXPECT_EQ(image.width, picture.choice.bucket.width);
    EXPECT_EQ(image.height, picture.choice.bucket.height);
  }
}

TEST(BalancedRepeats, GoThroughTheListAgainAndAgain) {
  EXPECT_EQ(balanced_repeats({1, 1, 1}, 7), (std::vector<int64_t>{3, 2, 2}));
  EXPECT_EQ(balanced_repeats({3, 3, 3}, 4), (std::vector<int64_t>{3, 3, 0}));
  EXPECT_EQ(balanced_repeats({2}, 0), (std::vector<int64_t>{0}));
}

}  // namespace
}  // namespace millrace
