// A whole run of sd-scripts (tests/golden/flux_lora/e2e) again: its order, noise and timesteps give its losses and its
// LoRA, CLIP's and the transformer's.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "config/optimizer_rules.h"
#include "diffusion/flux_golden_test_support.h"
#include "diffusion/flux_objective.h"
#include "formats/json.h"
#include "models/clip/entry.h"
#include "models/clip/model.h"
#include "models/lora_text_names.h"
#include "optim/clip.h"
#include "optim/optimizer_table.h"
#include "train/parameter_group.h"

namespace millrace {
namespace {

constexpr double kTextEncoderFactor = 0.5;
const std::string kFolder = kFluxGolden + "e2e/";

// The recorded CLIP, which encodes the recorded token ids whatever the captions are.
class RecordedClip : public TrainableEncoder {
 public:
  explicit RecordedClip(const nlohmann::json& config)
      : weights_(find_model("clip"), kFolder + "clip_l.safetensors", config_file(config)),
        clip_(std::dynamic_pointer_cast<clip::Clip>(weights_.load(torch::kFloat32, torch::kCPU))) {}

  void set_ids(const torch::Tensor& ids_BL) { ids_BL_ = ids_BL; }
  FlatModel& model() override { return *clip_; }
  torch::Tensor forward(const std::vector<std::string>&) override { return clip_->forward(ids_BL_, &saved_).pooled_BD; }
  void backward(const torch::Tensor& dpooled_BD) override { clip_->backward(saved_, dpooled_BD); }
  void set_trained(EncoderAdapters) override {}

 private:
  static std::filesystem::path config_file(const nlohmann::json& config) {
    const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "golden_run_clip.json";
    write_file_atomically(path, config.dump());
    return path;
  }

  ModelWeights weights_;
  std::shared_ptr<clip::Clip> clip_;
  clip::Clip::Saved saved_;
  torch::Tensor ids_BL_;
};

// The rate of a step counted from 0, as a part of the largest.
double cosine_after_warmup(int64_t step) {
  return step < 2 ? static_cast<double>(step) / 2 : 0.5 * (1 + std::cos(M_PI * static_cast<double>(step - 2) / 6));
}

TEST(GoldenRun, ItsOrderAndNoiseGiveItsLossesAndItsLora) {
  const nlohmann::json run = parse_json<DataError>(read_file(kFolder + "run.json"), "run.json");
  const TensorMap inputs = load_tensors(kFolder + "inputs.safetensors");
  LoraConfig config;
  config.scale_weight_norms = 2;
  RecordedClip clip(run.at("clip_config"));
  const std::unique_ptr<FluxAdapters> flux =
      golden_adapters(config, {}, {{flux::kClipAdapters, &clip, /*is_pooled=*/true, kTextEncoderFactor}});
  flux->start_from(kFolder + "init_lora.safetensors");

  OptimizerConfig rule;
  rule.name = "AdamW";
  rule.lr = 1e-2;
  rule.beta1 = 0.9;
  rule.beta2 = 0.999;
  rule.eps = 1e-8;
  rule.weight_decay = 0.01;
  const std::vector<FlatGroup> groups =
      parameter_groups(flux->parameters(), flux->rate_groups(), flux->parameters().grad());
  const std::unique_ptr<Optimizer> optimizer = make_optimizer({groups, with_rule_defaults(rule)});

  const nlohmann::json& steps = run.at("steps");
  for (size_t i = 0; i < steps.size(); ++i) {
    const nlohmann::json& step = steps[i];
    std::vector<torch::Tensor> latents, txt;
    for (const int64_t picture : step.at("images").get<std::vector<int64_t>>()) {
      latents.push_back(inputs.at("latent." + std::to_string(picture)));
      txt.push_back(inputs.at("t5." + std::to_string(picture)));
    }
    clip.set_ids(inputs.at("clip_ids." + std::to_string(i)).to(torch::kInt64));
    const FluxBatch batch = golden_batch(at::stack(latents), at::stack(txt), /*y=*/{});
    const FluxDraws draws = {inputs.at("noise." + std::to_string(i)).to(torch::kFloat32),
                             torch::tensor(step.at("timesteps").get<std::vector<float>>()) / 1000,
                             {}};
    const FluxObjective objective = {0, 2, {}};
    const torch::Tensor loss_1 = train_on_batch(*flux, batch, draws, objective, Keep::kOutputs, 0.5) / 2;

    const double expected = step.at("loss"), tolerance = i == 0 ? 5e-5 : 1e-3;
    EXPECT_NEAR(loss_1.item<double>(), expected, tolerance * expected) << "step " << i;
    const GradNorm norm = global_grad_norm(optimizer->groups(), 1);
    const double expected_norm = step.at("grad_norm");
    EXPECT_NEAR(norm.norm_1.item<double>(), expected_norm, 5 * tolerance * expected_norm) << "step " << i;
    optimizer->step(1e-2 * cosine_after_warmup(static_cast<int64_t>(i)), norm.coefficient_1);
    flux->weights_changed();
    const std::optional<MaxNormResult> norms = flux->limited_norms();
    ASSERT_TRUE(norms.has_value());
    EXPECT_EQ(static_cast<double>(norms->scaled), step.at("keys_scaled").get<double>());
    EXPECT_NEAR(norms->max_norm, step.at("max_key_norm"), 1e-3) << "step " << i;
    EXPECT_NEAR(norms->mean_norm, step.at("avg_key_norm"), 1e-3) << "step " << i;
  }

  // One step of bf16, relative to the largest number of a matrix.
  int compared = 0;
  for (const AdapterTensors& adapter : read_adapters(WeightStore(kFolder + "after_8_steps.safetensors"))) {
    const auto text = flux::parse_text_encoder_layer(adapter.module);
    for (const auto& [role, in_file] : adapter.tensors) {
      torch::Tensor got;
      for (const ParameterSlice& slice : flux->parameters().slices()) {
        std::string name = text ? layer_of(slice.name) : "lora_unet_" + layer_of(slice.name);
        if (!text) std::replace(name.begin(), name.end(), '.', '_');
        if (name == (text ? flux::run_name(*text) : adapter.module) && role_of(slice.name) == role) {
          got = FlatParameters::view(flux->parameters().master(), slice);
        }
      }
      ASSERT_TRUE(got.defined()) << in_file.name;
      EXPECT_LT(largest_error(got, in_file.values.to(torch::kFloat32)), 1.0 / 256) << in_file.name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, 76);
}

}  // namespace
}  // namespace millrace
