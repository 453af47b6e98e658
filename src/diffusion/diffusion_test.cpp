#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>

#include "diffusion/caption_encoder.h"
#include "diffusion/flow_matching.h"
#include "diffusion/latents.h"
#include "diffusion/pictures.h"
#include "diffusion/sampler.h"

namespace millrace {
namespace {

TEST(Latents, PackOrdersTokensByRowsAndFeaturesByChannels) {
  const torch::Tensor image = torch::arange(2 * 3 * 4 * 6, torch::kFloat32).view({2, 3, 4, 6});
  const torch::Tensor tokens = pack_patches(image, 2);
  EXPECT_EQ(tokens.sizes(), c10::IntArrayRef({2, 6, 12}));
  // Token 4 is row 1, column 1; feature 1*4 + 0*2 + 1 is channel 1, first row, second column of the patch.
  EXPECT_EQ(tokens[1][4][5].item<float>(), image[1][1][2][3].item<float>());
  EXPECT_TRUE(at::equal(unpack_patches(tokens, 2, 3, 2), image));
}

TEST(FlowMatching, ASamplesDrawsDependOnNothingButTheSample) {
  const torch::Tensor like = torch::empty({3, 2, 4, 4});
  const torch::Tensor all = draw_noise(1, RandomPurpose::kNoise, {0, 0, 1}, {11, 12, 13}, like);
  const torch::Tensor alone = draw_noise(1, RandomPurpose::kNoise, {1}, {13}, like.narrow(0, 0, 1));
  EXPECT_TRUE(at::equal(all.narrow(0, 2, 1), alone));
  EXPECT_FALSE(at::equal(all[0], all[1]));
  const torch::Tensor t = draw_timesteps({}, 64, 1, {0, 0, 1}, {11, 12, 13}, torch::kCPU);
  EXPECT_TRUE(at::equal(t.narrow(0, 1, 1), draw_timesteps({}, 64, 1, {0}, {12}, torch::kCPU)));
  EXPECT_FALSE(at::equal(t, draw_timesteps({}, 64, 2, {0, 0, 1}, {11, 12, 13}, torch::kCPU)));
}

TEST(FlowMatching, LossGradientMatchesAutograd) {
  torch::Tensor prediction = torch::randn({3, 4, 5}).requires_grad_();
  const torch::Tensor target = torch::randn({3, 4, 5});
  const torch::Tensor expected = torch::mse_loss(prediction, target);
  expected.backward();
  const VelocityLoss loss = velocity_loss(prediction.detach(), target, 1.0 / 3);
  EXPECT_NEAR(loss.per_sample_B.mean().item<double>(), expected.item<double>(), 1e-6);
  EXPECT_LT((loss.dprediction - prediction.grad()).abs().max().item<double>(), 1e-7);
}

TEST(FlowMatching, FactorsWeighSamplesAndElements) {
  torch::Tensor prediction = torch::randn({3, 4, 5}).requires_grad_();
  const torch::Tensor target = torch::randn({3, 4, 5}), mask = torch::rand({3, 4, 5});
  const torch::Tensor weights = torch::tensor({0.0, 0.5, 1.0}, torch::kFloat32);
  const torch::Tensor expected = (prediction - target).square().mul(mask).mean({1, 2}).mul(weights);
  expected.sum().mul(0.25).backward();
  const VelocityLoss loss = velocity_loss(prediction.detach(), target, 0.25, {weights, mask});
  EXPECT_LT((loss.per_sample_B - expected).abs().max().item<double>(), 1e-6);
  EXPECT_LT((loss.dprediction - prediction.grad()).abs().max().item<double>(), 1e-7);
}

TEST(Sampler, EulerIsExactOnAStraightFlow) {
  const torch::Tensor noise = torch::randn({2, 3}), data = torch::randn({2, 3});
  const Velocity velocity = [&](const torch::Tensor&, const torch::Tensor&) { return noise - data; };
  const torch::Tensor got = sample_flow(noise, velocity, {sampling_times(4), 1});
  EXPECT_LT((got - data).abs().max().item<double>(), 1e-6);
}

TEST(Sampler, GuidanceRunsBothHalvesInOneCall) {
  const torch::Tensor noise = torch::randn({3, 5});
  const auto empty = [](const torch::Tensor& x, double t) { return at::sin(x) * t; };
  const auto prompted = [](const torch::Tensor& x, double t) { return at::cos(x) + t; };
  int calls = 0;
  const Velocity velocity = [&](const torch::Tensor& x, const torch::Tensor& t_B) {
    ++calls;
    EXPECT_EQ(x.size(0), 6);
    EXPECT_EQ(t_B.size(0), 6);
    const auto t = t_B[0].item<double>();
    return at::cat({empty(x.narrow(0, 0, 3), t), prompted(x.narrow(0, 3, 3), t)}, 0);
  };
  const std::vector<double> times = sampling_times(7);
  const torch::Tensor got = sample_flow(noise, velocity, {times, 2.5});
  EXPECT_EQ(calls, 7);
  torch::Tensor x = noise.clone();
  for (size_t i = 0; i + 1 < times.size(); ++i) {
    const torch::Tensor v = empty(x, times[i]) + 2.5 * (prompted(x, times[i]) - empty(x, times[i]));
    x += (times[i + 1] - times[i]) * v;
  }
  EXPECT_LT((got - x).abs().max().item<double>(), 1e-5);
}

// Numbers of torchtitan's get_schedule(steps, tokens), fp32.
TEST(Sampler, ShiftsAsTorchtitanDoesForAsManyTokens) {
  const std::vector<double> of_256 = {1.0, 0.8318243026733398, 0.622459352016449, 0.3546612560749054, 0.0};
  const std::vector<double> of_1024 = {
      1.0, 0.8824971914291382, 0.7379740476608276, 0.5558990240097046, 0.31945133209228516, 0.0};
  EXPECT_THAT(sampling_times(4, 256), testing::Pointwise(testing::DoubleNear(1e-6), of_256));
  EXPECT_THAT(sampling_times(5, 1024), testing::Pointwise(testing::DoubleNear(1e-6), of_1024));
}

TEST(Sampler, ShiftedTimesKeepTheEndsAndFavourNoise) {
  const std::vector<double> plain = sampling_times(10), shifted = sampling_times(10, 4096);
  EXPECT_EQ(shifted.front(), 1);
  EXPECT_EQ(shifted.back(), 0);
  for (int i = 1; i < 10; ++i) EXPECT_GT(shifted[i], plain[i]);
  EXPECT_NEAR(shifted[5], std::exp(1.15) / (std::exp(1.15) + 1), 1e-12);
}

TEST(RandomWordEncoder, AWordIsTheSameEverywhere) {
  const auto encoder = random_word_encoder(4, 8, torch::kCPU);
  const torch::Tensor got = encoder->encode({"red heart", "Heart, red!", "", "one two three four five"});
  EXPECT_TRUE(at::equal(got[0][0], got[1][1]));
  EXPECT_TRUE(at::equal(got[0][1], got[1][0]));
  EXPECT_EQ(got[2].abs().max().item<float>(), 0);
  EXPECT_EQ(got[0][2].abs().max().item<float>(), 0);
  EXPECT_TRUE(at::equal(
      got,
      random_word_encoder(4, 8, torch::kCPU)->encode({"red heart", "Heart, red!", "", "one two three four five"})));
}

class CountingEncoder : public CaptionEncoder {
 public:
  explicit CountingEncoder(int* count) : count_(count) {}
  torch::Tensor encode(const std::vector<std::string>& captions) override {
    *count_ += static_cast<int>(captions.size());
    torch::Tensor out = torch::empty({static_cast<int64_t>(captions.size()), 2});
    for (size_t i = 0; i < captions.size(); ++i)
      out[static_cast<int64_t>(i)].fill_(static_cast<double>(captions[i].size()));
    return out;
  }
  std::string identity() const override { return "counting"; }

 private:
  int* count_;
};

TEST(CachedCaptionEncoder, EncodesEachCaptionOnceAndFindsItAgainOnDisk) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path() / "millrace_encoder_cache_test";
  std::filesystem::remove_all(folder);
  int count = 0;
  for (int run = 0; run < 2; ++run) {
    const auto encoder =
        cached_caption_encoder(std::make_unique<CountingEncoder>(&count), torch::kCPU, 1 << 20, folder);
    const torch::Tensor got = encoder->encode({"a", "bbb", "a", ""});
    EXPECT_EQ(got[1][0].item<float>(), 3);
    EXPECT_EQ(got[2][0].item<float>(), 1);
    EXPECT_EQ(got[3][1].item<float>(), 0);
    EXPECT_EQ(count, 3);
  }
  const auto forgetful = cached_caption_encoder(std::make_unique<CountingEncoder>(&count), torch::kCPU, 0);
  forgetful->encode({"a"});
  forgetful->encode({"a"});
  EXPECT_EQ(count, 5);
  std::filesystem::remove_all(folder);
}

TEST(Pictures, WeightsAreCalledByFileOrFolder) {
  EXPECT_EQ(name_of_weights("/models/my.model.safetensors"), "my.model");
  EXPECT_EQ(name_of_weights("/models/FLUX.1-dev/"), "FLUX.1-dev");
  EXPECT_EQ(name_of_weights("FLUX.1-dev/transformer"), "FLUX.1-dev");
  EXPECT_EQ(name_of_weights("FLUX.1-dev/transformer/diffusion_pytorch_model.safetensors.index.json"), "FLUX.1-dev");
  EXPECT_EQ(name_of_weights(""), "");
}

TEST(Pictures, OnlyPublishedWeightsNameTheirMaker) {
  for (const char* path : {"/models/flux1-schnell.safetensors", "FLUX.1-dev", "/m/FLUX.1-schnell/transformer/"}) {
    EXPECT_EQ(maker_of(path, /*full_size=*/true), "Black Forest Labs") << path;
    EXPECT_EQ(maker_of(path, /*full_size=*/false), "") << path;
  }
  for (const char* path :
       {"/models/mine.safetensors", "/models/FLUX.1-dev/mine.safetensors", "FLUX.1-dev-mine", "", "/"}) {
    EXPECT_EQ(maker_of(path, /*full_size=*/true), "") << path;
  }
}

TEST(Pictures, GridHoldsEveryPicture) {
  const std::vector<Image> pictures(5, to_image(torch::full({3, 32, 32}, -1.0)));
  const Image grid = picture_grid(pictures, {"a", "b", "c", "d", "a very long caption that does not fit below it"}, 3);
  int64_t black = 0;
  for (size_t i = 0; i < grid.pixels.size(); i += 3) black += grid.pixels[i] == 0;
  EXPECT_GE(black, 5 * 96 * 96);
  EXPECT_EQ(to_image(torch::full({3, 2, 2}, 5.0)).pixels[0], 255);
}

}  // namespace
}  // namespace millrace
