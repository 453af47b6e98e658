#include "compat/tune_recipes.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/number_text.h"

namespace millrace {
namespace {

constexpr const char* kNoPreferences = "preferences are not trained; full_finetune_* and lora_finetune_* are";
constexpr const char* kQuantised =
    "weights are not trained through a quantiser; lora_finetune_* with a qlora_ model trains on 4-bit weights";

constexpr std::array kRecipes = std::to_array<TuneRecipe>({
    {"full_finetune_single_device", false, false, nullptr},
    {"full_finetune_distributed", true, false, nullptr},
    {"lora_finetune_single_device", false, true, nullptr},
    {"lora_finetune_distributed", true, true, nullptr},
    {"full_dpo_distributed", true, false, kNoPreferences},
    {"lora_dpo_single_device", false, true, kNoPreferences},
    {"lora_dpo_distributed", true, true, kNoPreferences},
    {"ppo_full_finetune_single_device", false, false, kNoPreferences},
    {"qat_distributed", true, false, kQuantised},
    {"qat_single_device", false, false, kQuantised},
    {"qat_lora_finetune_distributed", true, true, kQuantised},
    {"knowledge_distillation_single_device", false, true, "there is no distillation; lora_finetune_* is had"},
    {"knowledge_distillation_distributed", true, true, "there is no distillation; lora_finetune_* is had"},
    {"generate", false, false, "`millrace sample` writes texts"},
    {"eleuther_eval", false, false,
     "`millrace evaluate` computes the validation loss; other measures need the exported weights"},
    {"quantize", false, false, "`millrace export` writes weights, also in 8 and 4 bits"},
});

// One configuration: what differs between them.
struct ConfigRow {
  const char* name;
  const char* recipe;
  const char* package;  // of torchtune.models
  const char* model;    // with lora_ or qlora_
  const char* folder;   // of the weights, in /tmp
  int shards;           // files of weights
  const char* model_type;
  int64_t rank;  // 0: the whole model
  int64_t batch_size;
  int64_t accumulation;
  const char* optimizer;
  double lr;
  bool packed;
  int64_t max_seq_len;  // 0: null
  bool checkpointing;   // of activations
  bool in_backward;     // optimizer_in_bwd
  const char* dataset;
  bool compile = false;
};
constexpr const char* kAdamW = "torch.optim.AdamW";
constexpr const char* kPaged = "bitsandbytes.optim.PagedAdamW8bit";
constexpr const char* kClean = "alpaca_cleaned_dataset";
constexpr const char* kAlpaca = "alpaca_dataset";
constexpr const char* kLlama31 = "Meta-Llama-3.1-8B-Instruct";
constexpr const char* kLlama33 = "Llama-3.3-70B-Instruct";
constexpr const char* kFullOne = "full_finetune_single_device";
constexpr const char* kFull = "full_finetune_distributed";
constexpr const char* kLoraOne = "lora_finetune_single_device";
constexpr const char* kLora = "lora_finetune_distributed";

// clang-format off
constexpr std::array kConfigs = std::to_array<ConfigRow>({
    {"llama3_1/8B_full_single_device", kFullOne, "llama3_1", "llama3_1_8b", kLlama31, 4, "LLAMA3", 0, 2, 1, kPaged, 2e-5, false, 0, true, true, kAlpaca},
    {"llama3_1/8B_full", kFull, "llama3_1", "llama3_1_8b", kLlama31, 4, "LLAMA3", 0, 2, 1, kAdamW, 2e-5, false, 0, true, false, kAlpaca},
    {"llama3_1/8B_lora_single_device", kLoraOne, "llama3_1", "lora_llama3_1_8b", kLlama31, 4, "LLAMA3", 8, 2, 8, kAdamW, 3e-4, false, 0, true, false, kClean},
    {"llama3_1/8B_qlora_single_device", kLoraOne, "llama3_1", "qlora_llama3_1_8b", kLlama31, 4, "LLAMA3", 8, 2, 8, kAdamW, 3e-4, false, 0, true, false, kClean},
    {"llama3_1/8B_lora", kLora, "llama3_1", "lora_llama3_1_8b", kLlama31, 4, "LLAMA3", 8, 2, 8, kAdamW, 3e-4, false, 0, false, false, kClean},
    {"llama3_2/1B_full_single_device", kFullOne, "llama3_2", "llama3_2_1b", "Llama-3.2-1B-Instruct", 1, "LLAMA3_2", 0, 4, 1, kPaged, 2e-5, false, 0, false, true, kAlpaca},
    {"llama3_2/1B_full", kFull, "llama3_2", "llama3_2_1b", "Llama-3.2-1B-Instruct", 1, "LLAMA3_2", 0, 4, 1, kAdamW, 2e-5, false, 0, false, false, kAlpaca},
    {"llama3_2/1B_lora_single_device", kLoraOne, "llama3_2", "lora_llama3_2_1b", "Llama-3.2-1B-Instruct", 1, "LLAMA3_2", 64, 4, 4, kAdamW, 3e-4, false, 0, false, false, kClean},
    {"llama3_2/1B_lora", kLora, "llama3_2", "lora_llama3_2_1b", "Llama-3.2-1B-Instruct", 1, "LLAMA3_2", 64, 4, 1, kAdamW, 3e-4, false, 0, false, false, kClean},
    {"llama3_2/3B_full_single_device", kFullOne, "llama3_2", "llama3_2_3b", "Llama-3.2-3B-Instruct", 2, "LLAMA3_2", 0, 4, 1, kPaged, 2e-5, false, 0, true, true, kAlpaca},
    {"llama3_2/3B_lora_single_device", kLoraOne, "llama3_2", "lora_llama3_2_3b", "Llama-3.2-3B-Instruct", 2, "LLAMA3_2", 64, 4, 8, kAdamW, 3e-4, false, 0, true, false, kClean},
    {"llama3_3/70B_full", kFull, "llama3_3", "llama3_3_70b", kLlama33, 30, "LLAMA3", 0, 2, 1, kAdamW, 2e-5, false, 0, true, false, kAlpaca},
    {"llama3_3/70B_full_multinode", kFull, "llama3_3", "llama3_3_70b", kLlama33, 30, "LLAMA3", 0, 4, 1, kAdamW, 2e-5, true, 1024, true, false, kAlpaca, true},
    {"llama3_3/70B_lora", kLora, "llama3_3", "lora_llama3_3_70b", kLlama33, 30, "LLAMA3", 16, 2, 1, kAdamW, 3e-4, false, 0, true, false, kAlpaca},
    {"llama3_3/70B_qlora", kLora, "llama3_3", "qlora_llama3_3_70b", kLlama33, 30, "LLAMA3", 16, 2, 1, kAdamW, 3e-4, false, 0, true, false, kAlpaca},
});
// clang-format on

std::string five_digits(int number) {
  const std::string digits = std::to_string(number);
  return std::string(5 - digits.size(), '0') + digits;
}

std::string lines_of_files(const ConfigRow& row) {
  if (row.shards == 1) return "  checkpoint_files: [model.safetensors]\n";
  if (row.shards > 9) {
    return str("  checkpoint_files:\n    filename_format: model-{}-of-{}.safetensors\n    max_filename: \"",
               five_digits(row.shards), "\"\n");
  }
  std::string text = "  checkpoint_files:\n";
  for (int i = 1; i <= row.shards; ++i) {
    text += str("    - model-", five_digits(i), "-of-", five_digits(row.shards), ".safetensors\n");
  }
  return text;
}

std::string lines_of_model(const ConfigRow& row) {
  std::string text = str("model:\n  _component_: torchtune.models.", row.package, ".", row.model, "\n");
  if (row.rank == 0) return text;
  return text + str("  lora_attn_modules: [q_proj, v_proj, output_proj]\n  apply_lora_to_mlp: true\n"
                    "  apply_lora_to_output: false\n  lora_rank: ",
                    row.rank, "\n  lora_alpha: ", 2 * row.rank, "\n  lora_dropout: 0.0\n");
}

std::string config_text(const ConfigRow& row) {
  const std::string recipe = row.recipe, name = row.name;
  const std::string family = name.substr(0, name.find('/')), variant = name.substr(name.find('/') + 1);
  const bool is_lora = row.rank > 0, is_single = ends_with(recipe, "single_device");
  const std::string size = variant.substr(0, variant.find('_')), rest = variant.substr(variant.find('_') + 1);
  const std::string folder = ends_with(rest, "_multinode") ? rest.substr(0, rest.find('_')) : rest;
  const std::string yes = "true\n", no = "false\n";
  std::string text = str("# ", is_lora ? "Adapters on a frozen" : "Every weight of", " ", row.folder,
                         is_single ? ", on one device.\n" : ", on the devices of one or more machines.\n");
  text += str("#   millrace tune run ", is_single ? "" : "--nproc_per_node 8 ", recipe, " --config ", row.name,
              "\n# Every key can be overridden behind it, as in batch_size=1 dataset.packed=true.\n\n");
  text += str("output_dir: /tmp/torchtune/", family, "_", size, "/", folder, "\n\n", lines_of_model(row), "\n");
  text +=
      str("tokenizer:\n  _component_: torchtune.models.llama3.llama3_tokenizer\n  path: /tmp/", row.folder,
          "/original/tokenizer.model\n  max_seq_len: ", row.max_seq_len > 0 ? std::to_string(row.max_seq_len) : "null",
          "\n\n");
  text += str("checkpointer:\n  _component_: torchtune.training.FullModelHFCheckpointer\n  checkpoint_dir: /tmp/",
              row.folder, "/\n", lines_of_files(row),
              "  recipe_checkpoint: null\n  output_dir: ${output_dir}\n  model_type: ", row.model_type,
              "\nresume_from_checkpoint: false\n");
  if (is_lora) text += "save_adapter_weights_only: " + std::string(ends_with(recipe, "distributed") ? yes : no);
  text += str("\ndataset:\n  _component_: torchtune.datasets.", row.dataset, "\n  packed: ", row.packed ? yes : no,
              "seed: null\nshuffle: true\nbatch_size: ", row.batch_size, "\n\n");
  text += str("optimizer:\n  _component_: ", row.optimizer, "\n");
  if (std::string(row.optimizer) == kAdamW) text += "  fused: true\n";
  if (is_lora) text += "  weight_decay: 0.01\n";
  text += str("  lr: ", number_text(row.lr), "\n");
  if (is_lora) {
    text +=
        "lr_scheduler:\n  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup\n"
        "  num_warmup_steps: 100\n";
  }
  text += "loss:\n  _component_: torchtune.modules.loss.CEWithChunkedOutputLoss\n\n";
  text += str("epochs: 1\nmax_steps_per_epoch: null\ngradient_accumulation_steps: ", row.accumulation,
              "\nclip_grad_norm: null\ncompile: ", row.compile ? yes : no);
  if (!is_lora) text += str("optimizer_in_bwd: ", row.in_backward ? yes : no);
  text += str("\ndevice: cuda\ndtype: bf16\nenable_activation_checkpointing: ", row.checkpointing ? yes : no,
              "enable_activation_offloading: false\n");
  if (!is_lora && size == "70B") {
    text += "custom_sharded_layers: [tok_embeddings, output]\n";
    text += str("fsdp_cpu_offload: ", row.packed ? no : yes);
  }
  text +=
      "\nmetric_logger:\n  _component_: torchtune.training.metric_logging.DiskLogger\n  log_dir: ${output_dir}/logs\n"
      "log_every_n_steps: 1\nlog_peak_memory_stats: true\n\n"
      "profiler:\n  _component_: torchtune.training.setup_torch_profiler\n  enabled: false\n"
      "  output_dir: ${output_dir}/profiling_outputs\n  cpu: true\n  cuda: true\n  profile_memory: false\n"
      "  with_stack: false\n  record_shapes: true\n  with_flops: false\n"
      "  wait_steps: 5\n  warmup_steps: 3\n  active_steps: 2\n  num_cycles: 1\n";
  return text;
}

}  // namespace

const TuneRecipe& find_tune_recipe(const std::string& name) {
  std::string plain = ends_with(name, ".py") ? name.substr(0, name.size() - 3) : name;
  if (ends_with(name, ".py")) plain = plain.substr(plain.rfind('/') + 1);
  std::vector<std::string> known;
  for (const TuneRecipe& recipe : kRecipes) {
    if (recipe.instead == nullptr) known.emplace_back(recipe.name);
    if (plain != recipe.name) continue;
    if (recipe.instead == nullptr) return recipe;
    throw ConfigError("[" + name + "] expected a recipe that is had here, got another: " + recipe.instead);
  }
  const std::string near = nearest(plain, known);
  throw ConfigError("[" + name + "] expected one of " + join(known, ", ") + ", got another recipe" +
                    (near.empty() ? " (try millrace tune ls)" : " (try " + near + ")"));
}

std::optional<std::string> tune_config_text(const std::string& name) {
  const auto* row = std::find_if(kConfigs.begin(), kConfigs.end(), [&](const ConfigRow& r) { return name == r.name; });
  return row == kConfigs.end() ? std::nullopt : std::optional(config_text(*row));
}

std::vector<std::string> tune_config_names() {
  std::vector<std::string> names;
  for (const ConfigRow& row : kConfigs) names.emplace_back(row.name);
  return names;
}

std::string tune_list() {
  constexpr size_t kWidth = 40;
  const auto cell = [](std::string text) {
    return text + std::string(text.size() < kWidth ? kWidth - text.size() : 1, ' ');
  };
  std::string text = cell("RECIPE") + "CONFIG\n";
  for (const TuneRecipe& recipe : kRecipes) {
    if (recipe.instead != nullptr) continue;
    std::string left = recipe.name;
    for (const ConfigRow& row : kConfigs) {
      if (std::string(row.recipe) != recipe.name) continue;
      text += cell(left) + row.name + "\n";
      left.clear();
    }
  }
  return text;
}

}  // namespace millrace
