#include "compat/tune_components.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

using R = TuneRole;

constexpr const char* kPreference = "preferences are not trained; chat_dataset and instruct_dataset are";
constexpr const char* kPictures = "language models are trained on text alone; chat_dataset is";
constexpr const char* kOtherTokenizer =
    "torchtune lays out this model's conversations in a way of its own; `millrace train` with finetune.chat_layout = "
    "\"template\" takes the model's own chat template";
constexpr const char* kPickles = "it reads pickles; torchtune.training.FullModelHFCheckpointer reads safetensors";
constexpr const char* kMetaPickles =
    "it reads pickles; torchtune.training.FullModelHFCheckpointer reads safetensors, which `python -m "
    "transformers.models.llama.convert_llama_weights_to_hf --input_dir CHECKPOINT_DIR --output_dir converted "
    "--llama_version 3.1`, of transformers 4, makes of Meta's files";
constexpr const char* kDistillation = "there is no distillation; LinearCrossEntropyLoss is";
constexpr const char* kService =
    "nothing is sent to a service; metrics.jsonl has every number, and TensorBoardLogger draws them";

constexpr std::array kComponents = std::to_array<TuneComponent>({
    {"torchtune.models.llama3.llama3_tokenizer", R::kTokenizer, "", nullptr},
    {"torchtune.models.llama3.llama3_s_tokenizer", R::kTokenizer, "", kOtherTokenizer},
    {"torchtune.models.llama2.llama2_tokenizer", R::kTokenizer, "", kOtherTokenizer},
    {"torchtune.models.llama3_2_vision.llama3_2_vision_transform", R::kTokenizer, "", kPictures},
    {"torchtune.models.llama4.llama4_transform", R::kTokenizer, "", kPictures},
    {"torchtune.models.mistral.mistral_tokenizer", R::kTokenizer, "", kOtherTokenizer},
    {"torchtune.models.gemma.gemma_tokenizer", R::kTokenizer, "", kOtherTokenizer},
    {"torchtune.models.gemma2.gemma2_tokenizer", R::kTokenizer, "", kOtherTokenizer},
    {"torchtune.models.phi3.phi3_mini_tokenizer", R::kTokenizer, "", kOtherTokenizer},
    {"torchtune.models.phi4.phi4_tokenizer", R::kTokenizer, "", kOtherTokenizer},
    {"torchtune.models.qwen2.qwen2_tokenizer", R::kTokenizer, "", kOtherTokenizer},
    {"torchtune.models.qwen2_5.qwen2_5_tokenizer", R::kTokenizer, "", kOtherTokenizer},
    {"torchtune.models.qwen3.qwen3_tokenizer", R::kTokenizer, "", kOtherTokenizer},

    {"torchtune.datasets.chat_dataset", R::kDataset, "chat", nullptr},
    {"torchtune.datasets.instruct_dataset", R::kDataset, "instruct", nullptr},
    {"torchtune.datasets.alpaca_dataset", R::kDataset, "alpaca", nullptr},
    {"torchtune.datasets.alpaca_cleaned_dataset", R::kDataset, "alpaca_cleaned", nullptr},
    {"torchtune.datasets.text_completion_dataset", R::kDataset, "text", nullptr},
    {"torchtune.datasets.samsum_dataset", R::kDataset, "samsum", nullptr},
    {"torchtune.datasets.grammar_dataset", R::kDataset, "grammar", nullptr},
    {"torchtune.datasets.slimorca_dataset", R::kDataset, "slimorca", nullptr},
    {"torchtune.datasets.cnn_dailymail_articles_dataset", R::kDataset, "cnn_dailymail", nullptr},
    {"torchtune.datasets.wikitext_dataset", R::kDataset, "wikitext", nullptr},
    {"torchtune.datasets.hh_rlhf_helpful_dataset", R::kDataset, "", kPreference},
    {"torchtune.datasets.stack_exchange_paired_dataset", R::kDataset, "", kPreference},
    {"torchtune.datasets.preference_dataset", R::kDataset, "", kPreference},
    {"torchtune.datasets.multimodal.llava_instruct_dataset", R::kDataset, "", kPictures},
    {"torchtune.datasets.multimodal.the_cauldron_dataset", R::kDataset, "", kPictures},
    {"torchtune.datasets.multimodal.vqa_dataset", R::kDataset, "", kPictures},
    {"torchtune.datasets.multimodal.multimodal_chat_dataset", R::kDataset, "", kPictures},

    {"torch.optim.AdamW", R::kOptimizer, "AdamW", nullptr},
    {"torch.optim.Adam", R::kOptimizer, "Adam", nullptr},
    {"torch.optim.SGD", R::kOptimizer, "SGD", nullptr},
    {"bitsandbytes.optim.AdamW", R::kOptimizer, "AdamW", nullptr},
    {"bitsandbytes.optim.AdamW8bit", R::kOptimizer, "AdamW8bit", nullptr},
    {"bitsandbytes.optim.PagedAdamW", R::kOptimizer, "AdamW", nullptr},
    {"bitsandbytes.optim.PagedAdamW8bit", R::kOptimizer, "AdamW8bit", nullptr},
    {"bitsandbytes.optim.Lion", R::kOptimizer, "Lion", nullptr},
    {"torchao.optim.AdamW8bit", R::kOptimizer, "", "its 8 bits are others; bitsandbytes.optim.AdamW8bit is had"},
    {"torchao.prototype.low_bit_optim.AdamW8bit", R::kOptimizer, "",
     "its 8 bits are others; bitsandbytes.optim.AdamW8bit is had"},
    {"torchao.prototype.low_bit_optim.CPUOffloadOptimizer", R::kOptimizer, "",
     "the optimizer's state stays where the weights are; torch.optim.AdamW sharded over ranks takes less on each"},
    {"torchao.optim.CPUOffloadOptimizer", R::kOptimizer, "",
     "the optimizer's state stays where the weights are; torch.optim.AdamW sharded over ranks takes less on each"},

    {"torchtune.modules.loss.LinearCrossEntropyLoss", R::kLoss, "main", nullptr},
    {"torchtune.modules.loss.CEWithChunkedOutputLoss", R::kLoss, "0.6.1", nullptr},
    {"torch.nn.CrossEntropyLoss", R::kLoss, "0.6.1", nullptr},
    {"torchtune.modules.loss.ForwardKLLoss", R::kLoss, "", kDistillation},
    {"torchtune.modules.loss.ForwardKLWithChunkedOutputLoss", R::kLoss, "", kDistillation},
    {"torchtune.rlhf.loss.DPOLoss", R::kLoss, "", kPreference},

    {"torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup", R::kSchedule, "cosine", nullptr},
    {"torchtune.training.get_cosine_schedule_with_warmup", R::kSchedule, "cosine", nullptr},
    {"torchtune.modules.get_cosine_schedule_with_warmup", R::kSchedule, "cosine", nullptr},

    {"torchtune.training.setup_torch_profiler", R::kProfiler, "", nullptr},
    {"torchtune.utils.setup_torch_profiler", R::kProfiler, "", nullptr},

    {"torchtune.training.metric_logging.DiskLogger", R::kMetricLogger, "disk", nullptr},
    {"torchtune.training.metric_logging.StdoutLogger", R::kMetricLogger, "stdout", nullptr},
    {"torchtune.training.metric_logging.TensorBoardLogger", R::kMetricLogger, "tensorboard", nullptr},
    {"torchtune.training.metric_logging.WandBLogger", R::kMetricLogger, "service", nullptr},
    {"torchtune.training.metric_logging.CometLogger", R::kMetricLogger, "service", nullptr},
    {"torchtune.utils.metric_logging.DiskLogger", R::kMetricLogger, "disk", nullptr},
    {"torchtune.training.metric_logging.MLFlowLogger", R::kMetricLogger, "", kService},

    {"torchtune.training.FullModelHFCheckpointer", R::kCheckpointer, "", nullptr},
    {"torchtune.utils.FullModelHFCheckpointer", R::kCheckpointer, "", nullptr},
    {"torchtune.training.FullModelMetaCheckpointer", R::kCheckpointer, "", kMetaPickles},
    {"torchtune.training.FullModelTorchTuneCheckpointer", R::kCheckpointer, "", kPickles},
    {"torchtune.training.DistributedCheckpointer", R::kCheckpointer, "", kPickles},

    {"torchtune.data.padded_collate_sft", R::kCollate, "", nullptr},
    {"torchtune.data.padded_collate_packed", R::kCollate, "", nullptr},
    {"torchtune.data.padded_collate_dpo", R::kCollate, "", kPreference},

    {"torchtune.models.llama3.base_llama_tp_plan", R::kParallelPlan, "", nullptr},
});

constexpr const char* kModels = "torchtune.models.";
constexpr std::array kTuneModels = std::to_array<TuneModel>({
    {"torchtune.models.llama3.llama3", 0, 0, 0},
    {"torchtune.models.llama3.llama3_8b", 4096, 32, 128256},
    {"torchtune.models.llama3.llama3_70b", 8192, 80, 128256},
    {"torchtune.models.llama3_1.llama3_1", 0, 0, 0},
    {"torchtune.models.llama3_1.llama3_1_8b", 4096, 32, 128256},
    {"torchtune.models.llama3_1.llama3_1_70b", 8192, 80, 128256},
    {"torchtune.models.llama3_1.llama3_1_405b", 16384, 126, 128256},
    {"torchtune.models.llama3_2.llama3_2", 0, 0, 0},
    {"torchtune.models.llama3_2.llama3_2_1b", 2048, 16, 128256},
    {"torchtune.models.llama3_2.llama3_2_3b", 3072, 28, 128256},
    {"torchtune.models.llama3_3.llama3_3", 0, 0, 0},
    {"torchtune.models.llama3_3.llama3_3_70b", 8192, 80, 128256},
});
// Packages of models that are had, but not by torchtune's builders; and those that are not.
constexpr std::array kOtherPackages = {"llama2", "code_llama2", "mistral", "qwen2", "qwen2_5", "qwen3"};
constexpr std::array kMissingPackages = {"gemma", "gemma2", "phi3", "phi4", "llama3_2_vision", "llama4", "clip", "t5"};

std::string with_hint(const std::string& message, const std::string& near) {
  return message + (near.empty() ? "" : " (try " + near + ")");
}

// The nearest of the names; also when only the word behind the last dot is near.
std::string nearest_component(const std::string& name, const std::vector<std::string>& known) {
  std::vector<std::string> last_words;
  for (const std::string& candidate : known) last_words.push_back(candidate.substr(candidate.rfind('.') + 1));
  const std::string near = nearest(name.substr(name.rfind('.') + 1), last_words);
  for (size_t i = 0; i < known.size(); ++i) {
    if (!near.empty() && last_words[i] == near) return known[i];
  }
  return nearest(name, known);
}

template <size_t N>
bool is_in(const std::array<const char*, N>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string any_of_role(TuneRole role) {
  return std::string(role == R::kOptimizer ? "an " : "a ") + role_name(role);
}

}  // namespace

const char* role_name(TuneRole role) {
  switch (role) {
    case R::kModel:
      return "model";
    case R::kTokenizer:
      return "tokenizer";
    case R::kDataset:
      return "data set";
    case R::kOptimizer:
      return "optimizer";
    case R::kLoss:
      return "loss";
    case R::kSchedule:
      return "learning-rate schedule";
    case R::kProfiler:
      return "profiler";
    case R::kMetricLogger:
      return "metric logger";
    case R::kCheckpointer:
      return "checkpointer";
    case R::kCollate:
      return "collate function";
    case R::kParallelPlan:
      return "tensor-parallel plan";
  }
  return "?";
}

std::span<const TuneComponent> tune_components() {
  return kComponents;
}

const TuneComponent& find_tune_component(const std::string& name, TuneRole role, const std::string& place) {
  std::vector<std::string> known;
  for (const TuneComponent& component : kComponents) {
    if (component.role == role && component.instead == nullptr) known.emplace_back(component.name);
    if (name != component.name) continue;
    if (component.role != role) {
      throw ConfigError("[" + place + "] expected " + any_of_role(role) + ", got the " + role_name(component.role) +
                        " " + name);
    }
    if (component.instead == nullptr) return component;
    throw ConfigError("[" + place + "] expected " + any_of_role(role) + " that is had here, got " + name + ": " +
                      component.instead);
  }
  throw ConfigError(with_hint("[" + place + "] expected " + any_of_role(role) + " of torchtune's recipes, got " +
                                  (name.empty() ? "none" : json_escape(name)),
                              nearest_component(name, known)));
}

ChosenTuneModel find_tune_model(const std::string& name, const std::string& place) {
  const std::string function = name.substr(name.rfind('.') + 1);
  ChosenTuneModel chosen;
  std::string plain = name;
  for (const auto& [prefix, adapter] :
       {std::pair{"qlora_", TuneAdapter::kQuantizedLora}, std::pair{"lora_", TuneAdapter::kLora}}) {
    if (!starts_with(function, prefix)) continue;
    chosen.adapter = adapter;
    plain = name.substr(0, name.size() - function.size()) + function.substr(std::string(prefix).size());
    break;
  }
  std::vector<std::string> known;
  for (const TuneModel& model : kTuneModels) {
    if (plain == model.builder) {
      chosen.model = &model;
      return chosen;
    }
    known.emplace_back(model.builder);
  }
  const std::string package =
      starts_with(plain, kModels) ? split(plain.substr(std::string(kModels).size()), '.').front() : "";
  if (is_in(kOtherPackages, package)) {
    throw ConfigError("[" + place + "] expected a model of Llama 3, got " + name +
                      " (`millrace train` with model.name = \"llama\" trains Llama, Mistral, Qwen2 and Qwen3 as their "
                      "Hugging Face folders have them)");
  }
  if (is_in(kMissingPackages, package)) {
    throw ConfigError("[" + place + "] expected a model of Llama 3, got " + name +
                      (package == "llama4" ? ", a mixture of experts, which this program does not have"
                                           : ", which is not trained here"));
  }
  std::string near = nearest_component(plain, known);
  if (!near.empty() && chosen.adapter != TuneAdapter::kNone) {
    near.insert(near.rfind('.') + 1, chosen.adapter == TuneAdapter::kLora ? "lora_" : "qlora_");
  }
  throw ConfigError(with_hint(
      "[" + place + "] expected a model of torchtune's recipes, got " + (name.empty() ? "none" : json_escape(name)),
      near));
}

}  // namespace millrace
