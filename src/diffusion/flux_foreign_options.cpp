#include "diffusion/flux_foreign_options.h"

#include <array>

namespace millrace {
namespace {

using Type = ForeignOption::Type;
constexpr auto kWarn = ForeignOption::Answer::kWarn;
constexpr auto kRefuse = ForeignOption::Answer::kRefuse;
constexpr auto kTranslate = ForeignOption::Answer::kTranslate;

constexpr const char* kLeftover = "torchtitan does not use it either";
constexpr const char* kGuidance = "false: sample.guidance_scale is 1; true: it is 5, or the given value";
constexpr const char* kSampleCommand = "use `millrace sample --output`";
constexpr const char* kPrepareCommand = "it belongs to preparing data, not to training";

constexpr std::array kOptions = std::to_array<ForeignOption>({
    {"model.tokenizer_path", Type::kText, "None", kWarn, "use encoder.t5_tokenizer and encoder.clip_tokenizer"},
    {"model.hf_assets_path", Type::kText, "None", kWarn, "use encoder.t5_encoder and encoder.clip_encoder"},
    {"training.seq_len", Type::kInteger, "None", kWarn,
     "the length follows from training.img_size and encoder.max_t5_encoding_len"},
    {"training.test_mode", Type::kFlag, "false", kRefuse,
     "set encoder.t5_encoder, encoder.clip_encoder and encoder.autoencoder_path to \"random\" instead"},
    {"validation.seq_len", Type::kInteger, "None", kWarn,
     "the length follows from training.img_size and encoder.max_t5_encoding_len"},
    {"validation.enable_classifier_free_guidance", Type::kFlag, "None", kTranslate, kGuidance},
    {"validation.enable_classifer_free_guidance", Type::kFlag, "None", kTranslate, kGuidance},
    {"eval.enable_classifier_free_guidance", Type::kFlag, "None", kTranslate, kGuidance},
    {"eval.enable_classifer_free_guidance", Type::kFlag, "None", kTranslate, kGuidance},
    {"eval.inception_ckpt", Type::kText, "None", kWarn, kLeftover},
    {"eval.clip_ckpt", Type::kText, "None", kWarn, kLeftover},
    {"eval.coco_stats", Type::kText, "None", kWarn, kLeftover},
    {"eval.prompts_csv", Type::kText, "None", kWarn, kLeftover},
    {"eval.num_prompts", Type::kInteger, "None", kWarn, kLeftover},
    {"inference.save_path", Type::kText, "None", kWarn, kSampleCommand},
    {"inference.save_img_folder", Type::kText, "None", kWarn, kSampleCommand},
    {"preprocessing.output_dataset_path", Type::kText, "None", kWarn, kPrepareCommand},
    {"parallelism.disable_loss_parallel", Type::kFlag, "false", kWarn, "the loss of FLUX is not split by tensors"},
});

}  // namespace

std::vector<ForeignOption> flux_foreign_options() {
  return {kOptions.begin(), kOptions.end()};
}

}  // namespace millrace
