#include "picture_sets/sample_prompts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "picture_sets/golden_test_support.h"

namespace millrace {
namespace {

TEST(SamplePrompts, AreReadAsSdScriptsReadsThem) {
  const GoldenJson golden = read_golden("prompts/parsed.json");
  ASSERT_EQ(golden.size(), 3u);
  for (const GoldenJson& item : golden) {
    const auto prompts = read_sample_prompts(golden_path("prompts/" + item["file"].get<std::string>()));
    ASSERT_EQ(prompts.size(), item["prompts"].size()) << item["file"];
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(nlohmann::json(prompts[i].values), nlohmann::json(item["prompts"][i]));
    }
  }
}

TEST(SamplePrompts, SayWhichFlagsTheyLeaveOut) {
  EXPECT_THAT(parse_prompt_line("a cat --w 64 --z 3 --h").ignored,
              testing::ElementsAre("--z 3: expected a flag with its value", "--h: expected a flag with its value"));
  // Known, but of other models.
  const std::string flags = "a cat --ss ddim --cn x.png --ctr 0.3 --rcfg 1 --fs 2 --w 64";
  const std::vector<std::string> ignored = parse_prompt_line(flags).ignored;
  ASSERT_EQ(ignored.size(), 5u);
  EXPECT_EQ(ignored[1], "--cn x.png: FLUX, which Euler steps draw, does not read it");
}

// As Python's re and int() do; a line of a longer text ends its value.
TEST(SamplePrompts, TakeDigitsOfAllScripts) {
  const auto values =
      parse_prompt_line("a --w \xEF\xBC\x95\xEF\xBC\x91\xEF\xBC\x92px --g \xD9\xA3.\xD9\xA5 --n bad\nred --s \xC2\xB2")
          .values;
  EXPECT_EQ(values["width"], 512);
  EXPECT_EQ(values["guidance_scale"], 3.5);
  EXPECT_EQ(values["negative_prompt"], "bad");
  EXPECT_FALSE(values.contains("sample_steps"));  // a small 2 is no digit
}

TEST(SamplePrompts, SayWhichKeysTheyDoNotRead) {
  using testing::ElementsAre;
  using testing::EndsWith;
  const std::filesystem::path folder = testing::TempDir();
  write_file_atomically(
      folder / "keys.json",
      R"([{"prompt": "x", "widht": 64, "sample_step": 3}, {"prompt": "y", "flow_shift": 2, "width": 64}])");
  const auto prompts = read_sample_prompts(folder / "keys.json");
  EXPECT_THAT(prompts[0].ignored, ElementsAre(EndsWith("(try width)"), EndsWith("(try sample_steps)")));
  EXPECT_THAT(prompts[1].ignored, ElementsAre(testing::StartsWith("flow_shift: FLUX")));
  write_file_atomically(folder / "keys.toml", "[prompt]\nhight = 64\n[[prompt.subset]]\nprompt = 'a'\nseed = 1\n");
  EXPECT_THAT(read_sample_prompts(folder / "keys.toml")[0].ignored, ElementsAre(EndsWith("(try height)")));
}

TEST(SamplePrompts, RefuseAKeyInBothTables) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "both.toml";
  write_file_atomically(path, "[prompt]\nwidth = 64\n[[prompt.subset]]\nprompt = 'a'\nwidth = 32\n");
  try {
    read_sample_prompts(path);
    ADD_FAILURE();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("both.toml:5] expected \"width\" in [prompt] or in its subset"));
  }
}

TEST(SampleRequest, RoundsSizesDownAndHasTheDefaultsOfFlux) {
  const SampleRequest request = sample_request(parse_prompt_line("a --w 100 --h 20 --s 0"), "test");
  EXPECT_EQ(request.width, 96);
  EXPECT_EQ(request.height, 64);
  EXPECT_EQ(request.steps, 1);
  EXPECT_EQ(request.guidance_scale, 3.5);
  EXPECT_EQ(request.scale, 1);
  EXPECT_FALSE(request.seed);
  EXPECT_EQ(sample_request(parse_prompt_line("a --d 5"), "test").seed, 5u);
}

}  // namespace
}  // namespace millrace
