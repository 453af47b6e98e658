// Batches of pictures: the same steps on any number of ranks, exact positions, and what is left out.
#include "diffusion/picture_set_batches.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "comm/mesh.h"
#include "images/encode.h"
#include "picture_sets/trained_options.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr int64_t kTokens = 3, kWidth = 4;

class PictureSetBatchesTest : public testing::Test {
 protected:
  PictureSetBatchesTest()
      : folder_(fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    create_folders(folder_ / "pictures");
    create_folders(folder_ / "reg");
    for (int i = 0; i < 7; ++i) write_picture("pictures", i, i < 5 ? 48 : 32, i < 5 ? 16 : 32);
    for (int i = 0; i < 2; ++i) write_picture("reg", i, 32, 32);
    front_end_.codec = pixel_codec();
    front_end_.encoders = {random_word_encoder(kTokens, kWidth, torch::kCPU),
                           random_pooled_encoder(kWidth, torch::kCPU)};
  }

  void write_picture(const std::string& name, int number, int width, int height) const {
    Image image;
    image.reshape(width, height, 3);
    for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(31 * number + 7 * i);
    const fs::path stem = folder_ / name / std::to_string(number);
    write_file_atomically(stem.string() + ".png", encode_png(image));
    write_file_atomically(stem.string() + ".txt", name + ", tag, number " + std::to_string(number));
  }

  std::shared_ptr<const PictureData> open(const std::string& options = "", const std::string& of_reg = "") const {
    write_file_atomically(folder_ / "set.toml", R"(
[[datasets]]
resolution = 32
enable_bucket = true
min_bucket_reso = 16
max_bucket_reso = 64
bucket_reso_steps = 16
batch_size = 3
)" + options + R"(
[[datasets.subsets]]
image_dir = "pictures"
caption_extension = ".txt"
num_repeats = 2
shuffle_caption = true
flip_aug = true
random_crop = true
[[datasets.subsets]]
image_dir = "reg"
caption_extension = ".txt"
is_reg = true
)" + of_reg);
    Group alone("alone", 0, {0}, nullptr);
    return std::make_shared<const PictureData>(open_picture_data(
        (folder_ / "set.toml").string(), {.prior_loss_weight = 0.5, .max_bad_fraction = 1}, alone, torch::kCPU));
  }

  PictureSetBatches batches(const std::shared_ptr<const PictureData>& data, int rank = 0, int num_ranks = 1) {
    return PictureSetBatches(options_for(data, rank, num_ranks), front_end_);
  }
  static PictureSetBatchesOptions options_for(const std::shared_ptr<const PictureData>& data, int rank = 0,
                                              int num_ranks = 1) {
    PictureSetBatchesOptions options;
    options.data = data;
    options.seed = 5;
    options.rank = rank;
    options.num_ranks = num_ranks;
    options.num_workers = 2;
    options.max_bad_fraction = 1;
    return options;
  }

  fs::path folder_;
  FluxFrontEnd front_end_;
};

// What is trained on, by its row in the batch.
using Rows = std::map<int64_t, std::vector<double>>;

void add_rows(const FluxBatch& batch, Rows& rows) {
  for (int64_t i = 0; i < batch.num_samples; ++i) {
    const auto at = static_cast<size_t>(i);
    EXPECT_FALSE(rows.contains(batch.rows[at]));
    const double weight = batch.weight_B.defined() ? batch.weight_B[i].item<double>() : 1;
    rows[batch.rows[at]] = {static_cast<double>(batch.sample_ids[at]),
                            static_cast<double>(batch.epochs[at]),
                            weight,
                            static_cast<double>(batch.latent_BZhw.size(3)),
                            batch.latent_BZhw[i].sum(torch::kFloat64).item<double>(),
                            batch.latent_BZhw[i].flatten()[7].item<double>(),
                            batch.txt_BTX[i].flatten()[1].item<double>(),
                            batch.y_BV[i].sum(torch::kFloat64).item<double>()};
  }
}

TEST_F(PictureSetBatchesTest, PreservedPicturesAreKnownToEveryRank) {
  const auto data = open("", "custom_attributes = { diff_output_preservation = true }");
  const SubsetOptions& reg = data->sets[0].options.subsets[1];
  EXPECT_TRUE(reg.is_reg && preserves_output(reg));
  int64_t mixed = 0;
  PictureSetBatches alone = batches(data), first = batches(data, 0, 3), second = batches(data, 1, 3);
  for (int step = 0; step < 20; ++step) {
    const FluxBatch batch = alone.next(), part = first.next(), other = second.next();
    // Regularisation pictures have another weight, which tells which rows they are.
    std::vector<int64_t> expected;
    for (int64_t row = 0; row < batch.num_samples; ++row) {
      if (batch.weight_B.defined() && batch.weight_B[row].item<double>() == 0.5) expected.push_back(row);
    }
    EXPECT_EQ(batch.preserved_rows, expected);
    EXPECT_EQ(batch.preserves_any, !expected.empty());
    EXPECT_EQ(part.preserves_any, batch.preserves_any);
    EXPECT_EQ(other.preserves_any, batch.preserves_any);
    mixed += !expected.empty() && static_cast<int64_t>(expected.size()) < batch.num_samples;
  }
  EXPECT_GT(mixed, 0);
}

TEST_F(PictureSetBatchesTest, SubsetsHaveOffsetsOfTheirTimes) {
  const auto data = open("", "custom_attributes = { timestep_sampling = { offset = -0.5 } }");
  PictureSetBatches made = batches(data);
  size_t with_offset = 0;
  for (int step = 0; step < 20; ++step) {
    const FluxBatch batch = made.next();
    for (int64_t row = 0; row < batch.num_samples; ++row) {
      const bool is_reg = batch.weight_B.defined() && batch.weight_B[row].item<double>() == 0.5;
      const double offset = batch.time_offsets.empty() ? 0 : batch.time_offsets.at(static_cast<size_t>(row));
      EXPECT_EQ(offset, is_reg ? -0.5 : 0);
      with_offset += offset != 0 ? 1 : 0;
    }
  }
  EXPECT_GT(with_offset, 0);
  EXPECT_TRUE(batches(open("", "")).next().time_offsets.empty());
}

TEST_F(PictureSetBatchesTest, AnyNumberOfRanksTakesTheSameSteps) {
  const auto data = open();
  std::vector<std::vector<Rows>> of_ranks;
  of_ranks.reserve(4);  // references to its elements are held
  std::vector<uint64_t> one_rank;
  for (const int num_ranks : {1, 2, 3, 5}) {
    std::vector<Rows>& steps = of_ranks.emplace_back(25);
    std::vector<uint64_t> digests(25);
    for (int rank = 0; rank < num_ranks; ++rank) {
      PictureSetBatches part = batches(data, rank, num_ranks);
      for (size_t step = 0; step < steps.size(); ++step) {
        const FluxBatch batch = part.next();
        EXPECT_GE(batch.latent_BZhw.size(0), 1);
        EXPECT_EQ(batch.latent_BZhw.size(0), batch.txt_BTX.size(0));
        EXPECT_EQ(batch.latent_BZhw.size(0), static_cast<int64_t>(batch.sample_ids.size()));
        add_rows(batch, steps[step]);
        digests[step] += batch.digest;
      }
    }
    EXPECT_EQ(steps, of_ranks.front()) << num_ranks;
    if (num_ranks == 1) one_rank = digests;
    EXPECT_EQ(digests, one_rank) << num_ranks;
  }
  std::set<double> sizes, weights;
  for (const Rows& step : of_ranks.front()) {
    for (const auto& [row, values] : step) sizes.insert(values[3]), weights.insert(values[2]);
  }
  EXPECT_EQ(sizes, (std::set<double>{32, 48})) << "a size is missing";
  EXPECT_EQ(weights, (std::set<double>{0.5, 1}));
}

TEST_F(PictureSetBatchesTest, ResumesInTheMiddleOfAnEpoch) {
  const auto data = open();
  PictureSetBatches whole = batches(data);
  std::vector<Rows> steps;
  std::vector<std::string> positions = {whole.position()};
  for (int step = 0; step < 24; ++step) {
    add_rows(whole.next(), steps.emplace_back());
    positions.push_back(whole.position());
  }
  for (const size_t at : {0, 1, 8, 17, 23}) {
    PictureSetBatches resumed = batches(open());
    resumed.next();  // what it has prepared is forgotten
    resumed.restore(positions[at]);
    EXPECT_EQ(resumed.position(), positions[at]);
    Rows step;
    add_rows(resumed.next(), step);
    EXPECT_EQ(step, steps[at]) << at;
    EXPECT_EQ(resumed.position(), positions[at + 1]);
  }
}

TEST_F(PictureSetBatchesTest, APositionInOtherDataIsRefused) {
  PictureSetBatches first = batches(open());
  first.next();
  const std::string position = first.position();
  write_picture("pictures", 3, 48, 30);
  PictureSetBatches edited = batches(open());
  EXPECT_THAT([&] { edited.restore(position); }, ThrowsMessage<DataError>(HasSubstr("from pictures/3.png on")));
  EXPECT_THAT([&] { edited.restore(R"({"version": 1, "data_set": 7})"); },
              ThrowsMessage<DataError>(HasSubstr("expected that of a data set of pictures")));
  PictureSetBatchesOptions other_seed = options_for(open());
  other_seed.seed = 6;
  EXPECT_THAT([&] { PictureSetBatches(other_seed, front_end_).restore(position); },
              ThrowsMessage<DataError>(HasSubstr("[training.seed] expected that of the saved run, 5, got 6")));
}

// What each sample of four epochs is, by epoch and id: pixels, and the encoding of its caption.
std::map<std::pair<uint32_t, uint64_t>, std::vector<double>> samples_of(PictureSetBatches batches) {
  std::map<std::pair<uint32_t, uint64_t>, std::vector<double>> samples;
  for (FluxBatch batch = batches.next(); batch.epochs[0] < 4; batch = batches.next()) {
    for (int64_t i = 0; i < batch.num_samples; ++i) {
      const auto at = static_cast<size_t>(i);
      samples[{batch.epochs[at], batch.sample_ids[at]}] = {
          batch.latent_BZhw[i].sum(torch::kFloat64).item<double>(), batch.latent_BZhw[i].flatten()[7].item<double>(),
          batch.txt_BTX[i].flatten()[1].item<double>(), batch.y_BV[i].sum(torch::kFloat64).item<double>()};
    }
  }
  return samples;
}

TEST_F(PictureSetBatchesTest, AFewVariantsComeAgainInTurn) {
  PictureSetBatchesOptions options = options_for(open("color_aug = true"));
  const auto anew = samples_of({options, front_end_});
  options.variants = 2;
  const auto two = samples_of({options, front_end_});
  ASSERT_EQ(two.size(), anew.size());
  int64_t other_variants = 0, new_later = 0;
  for (const auto& [key, sample] : two) {
    const auto [epoch, id] = key;
    const auto variant = epoch % 2;
    EXPECT_EQ(sample, anew.at({variant, id})) << epoch << " " << id;
    if (epoch == 1) other_variants += sample == two.at({0, id}) ? 0 : 1;
    if (epoch == 3) new_later += sample == anew.at(key) ? 0 : 1;
  }
  EXPECT_GT(other_variants, 10);  // of 14 that change, and 14 of regularisation
  EXPECT_GT(new_later, 10);
}

TEST_F(PictureSetBatchesTest, ValidationHasEveryHeldBackPictureOnceAndAlwaysTheSame) {
  PictureSetBatchesOptions options = options_for(open("validation_split = 0.4"));
  options.is_validation = true;
  std::vector<Rows> all;
  for (const int64_t size : {1, 2, 4}) {
    options.validation_batch_size = size;
    PictureSetBatches held_back(options, front_end_);
    Rows& rows = all.emplace_back();
    int64_t before = 0;
    for (FluxBatch batch = held_back.next(); !batch.end_of_data; batch = held_back.next()) {
      for (int64_t& row : batch.rows) row += before;
      add_rows(batch, rows);
      before += batch.global_rows;
    }
    EXPECT_EQ(rows.size(), 3);  // of 7
  }
  EXPECT_EQ(all[1], all[0]);
  EXPECT_EQ(all[2], all[0]);
}

TEST_F(PictureSetBatchesTest, APictureThatChangesMeanwhileIsLeftOut) {
  const auto data = open();
  write_picture("pictures", 0, 40, 32);
  fs::remove(folder_ / "pictures" / "1.png");
  PictureSetBatches rest = batches(data);
  int64_t samples = 0, rows = 0;
  for (size_t batch = 0; batch < 10; ++batch) {  // an epoch: 10 and 18 samples by 3
    const FluxBatch part = rest.next();
    samples += part.num_samples;
    rows += part.global_rows;
  }
  EXPECT_EQ(rows, 28);
  EXPECT_EQ(samples, 28 - 2 * 2);
  PictureSetBatchesOptions strict = options_for(data);
  strict.max_bad_fraction = 0;
  PictureSetBatches none(strict, front_end_);
  EXPECT_THAT(
      [&] {
        for (int i = 0; i < 10; ++i) none.next();
      },
      ThrowsMessage<DataError>(HasSubstr("expected at most 0 % unreadable pictures, got 1 of 9")));
}

}  // namespace
}  // namespace millrace
