#include "picture_sets/trained_caption.h"

#include <gtest/gtest.h>

#include <map>

#include "base/python_random.h"
#include "picture_sets/golden_test_support.h"
#include "picture_sets/resolve.h"

namespace millrace {
namespace {

SubsetOptions subset_of(const GoldenJson& options) {
  SubsetOptions subset;
  const auto take = [&](const char* key, auto& value) {
    if (options.contains(key)) value = options[key].get<std::remove_cvref_t<decltype(value)>>();
  };
  const auto take_text = [&](const char* key, std::optional<std::string>& value) {
    if (options.contains(key)) value = options[key].get<std::string>();
  };
  take("shuffle_caption", subset.shuffle_caption);
  take("caption_separator", subset.caption_separator);
  take("keep_tokens", subset.keep_tokens);
  take("keep_tokens_separator", subset.keep_tokens_separator);
  take_text("secondary_separator", subset.secondary_separator);
  take("enable_wildcard", subset.enable_wildcard);
  take_text("caption_prefix", subset.caption_prefix);
  take_text("caption_suffix", subset.caption_suffix);
  take("caption_dropout_rate", subset.caption_dropout_rate);
  take("caption_dropout_every_n_epochs", subset.caption_dropout_every_n_epochs);
  take("caption_tag_dropout_rate", subset.caption_tag_dropout_rate);
  take("token_warmup_min", subset.token_warmup_min);
  take("token_warmup_step", subset.token_warmup_step);
  return subset;
}

CaptionMoment moment_of(const GoldenJson& state) {
  return {state.value("epoch", int64_t{0}), state.value("step", int64_t{0}), state.value("maxsteps", int64_t{100})};
}

TEST(TrainedCaption, IsThatOfSdScripts) {
  const GoldenJson golden = read_golden("captions/process_caption.json");
  for (const GoldenJson& item : golden["deterministic"]) {
    PythonRandom random(0);
    EXPECT_EQ(trained_caption(item["caption"], subset_of(item["subset"]), moment_of(item["state"]), random),
              item["output"].get<std::string>())
        << item.dump();
  }
}

TEST(TrainedCaption, DrawsAsSdScriptsDrawsForTheSameSeed) {
  const GoldenJson golden = read_golden("captions/process_caption.json");
  for (const GoldenJson& item : golden["random"]) {
    for (const auto& [seed, expected] : item["for_python_random_seed"].items()) {
      PythonRandom random(std::stoll(seed));
      EXPECT_EQ(trained_caption(item["caption"], subset_of(item["subset"]), moment_of(item["state"]), random),
                expected.get<std::string>())
          << item["caption"] << " " << item["subset"] << " seed " << seed;
    }
  }
}

TEST(TrainedCaption, HasTheSameOutcomesWithOurOwnNumbers) {
  const GoldenJson golden = read_golden("captions/process_caption.json");
  for (const GoldenJson& item : golden["random"]) {
    std::map<std::string, int> seen;
    constexpr int kDraws = 4000;
    for (int i = 0; i < kDraws; ++i) {
      PhiloxSource random(random_stream(5, RandomPurpose::kAugmentation, 0, static_cast<uint64_t>(i)));
      ++seen[trained_caption(item["caption"], subset_of(item["subset"]), moment_of(item["state"]), random)];
    }
    EXPECT_EQ(seen.size(), item["outcomes"].size()) << item["caption"];
    for (const auto& [text, frequency] : item["outcomes"].items()) {
      // Both are drawn: 5 standard deviations of each.
      EXPECT_NEAR(seen[text] / double{kDraws}, frequency.get<double>(), 0.07) << item["caption"] << ": " << text;
    }
  }
}

}  // namespace
}  // namespace millrace
