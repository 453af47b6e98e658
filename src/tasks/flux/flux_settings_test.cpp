// Which of FLUX's own options a resumed run names when they have changed.
#include <gmock/gmock.h>

#include <functional>

#include "diffusion/flux_run_config.h"
#include "train/changed_settings.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Change = std::function<void(FluxRunConfig&)>;

std::vector<std::string> said(const Change& change) {
  FluxRunConfig config;
  config.training_pictures.dataset_path = "/data/a";
  const Settings before = result_settings(config, 8, torch::kFloat32);
  change(config);
  return changed_settings(before, result_settings(config, 8, torch::kFloat32));
}

TEST(FluxSettings, ModelEncodersAndDataDecideTheResult) {
  EXPECT_THAT(said([](FluxRunConfig& c) { c.training_pictures.dataset_path = "/data/b"; }),
              ElementsAre("training.dataset_path: \"/data/a\" -> \"/data/b\""));
  EXPECT_THAT(said([](FluxRunConfig& c) { c.model.theta = 500; }), ElementsAre("model.theta: 0.0 -> 500.0"));
  EXPECT_THAT(said([](FluxRunConfig& c) { c.encoder.t5_encoder = "random"; }),
              ElementsAre("encoder.t5_encoder: \"\" -> \"random\""));
}

TEST(FluxSettings, PicturesAndCachesDoNot) {
  EXPECT_THAT(said([](FluxRunConfig& c) { c.sample.every_steps = 5; }), IsEmpty());
  EXPECT_THAT(said([](FluxRunConfig& c) { c.encoder.cache_encodings = EncodingCache::kMemory; }), IsEmpty());
}

TEST(FluxSettings, CachesWithDrawsOfTheirOwnDoAndAreNamedAsTheyAreWritten) {
  EXPECT_THAT(said([](FluxRunConfig& c) { c.encoder.cache_latents = EncodingCache::kNpz; }),
              ElementsAre("encoder.cache_latents: \"auto\" -> \"npz\""));
}

}  // namespace
}  // namespace millrace
