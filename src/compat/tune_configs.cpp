// The configurations of torchtune 0.6.1 for what is trained here, written from what they have in common and what
// differs between them. Those for Llama 3 8B start from Meta's pickles there, and from Hugging Face's files here.
#include <algorithm>
#include <array>
#include <string_view>

#include "base/log.h"
#include "base/text.h"
#include "compat/tune_recipes.h"
#include "config/number_text.h"

namespace millrace {
namespace {

constexpr const char* kFullOne = "full_finetune_single_device";
constexpr const char* kFull = "full_finetune_distributed";
constexpr const char* kLoraOne = "lora_finetune_single_device";
constexpr const char* kLora = "lora_finetune_distributed";

struct Weights {
  const char* package;  // of torchtune.models
  const char* size;     // "8B"
  const char* folder;   // in /tmp
  int files;
  const char* model_type = "LLAMA3";
  const char* tokenizer = "original/tokenizer.model";
};
constexpr Weights k3_8B = {"llama3", "8B", "Meta-Llama-3-8B-Instruct", 4};
constexpr Weights k3_70B = {"llama3", "70B", "Meta-Llama-3-70B-Instruct", 30};
constexpr Weights k31_8B = {"llama3_1", "8B", "Meta-Llama-3.1-8B-Instruct", 4};
constexpr Weights k31_70B = {"llama3_1", "70B", "Meta-Llama-3.1-70B-Instruct", 30};
constexpr Weights k31_405B = {"llama3_1", "405B",   "Meta-Llama-3.1-405B-Instruct",
                              191,        "LLAMA3", "original/mp8/tokenizer.model"};
constexpr Weights k32_1B = {"llama3_2", "1B", "Llama-3.2-1B-Instruct", 1, "LLAMA3_2"};
constexpr Weights k32_3B = {"llama3_2", "3B", "Llama-3.2-3B-Instruct", 2, "LLAMA3_2"};
constexpr Weights k33_70B = {"llama3_3", "70B", "Llama-3.3-70B-Instruct", 30};

constexpr const char* kAlpaca = "alpaca_dataset";
constexpr const char* kClean = "alpaca_cleaned_dataset";

// Defaults are what most have.
struct Config {
  const char* recipe;
  const Weights& weights;
  const char* variant;  // the name behind that of the size
  int ranks = 1;        // of a machine; their comments say so many
  int64_t rank = 0;     // of adapters
  int64_t batch_size = 2;
  int64_t accumulation = 1;
  bool checkpointing = true;  // of activations
  const char* dataset = kAlpaca;
  bool adapter_only = false;  // save_adapter_weights_only
  bool shards_ends = false;   // custom_sharded_layers
  bool names_plan = false;    // tensor_parallel_*, of degree 1
  bool is_multinode = false;
};

// clang-format off
constexpr std::array kConfigs = std::to_array<Config>({
    {.recipe = kFullOne, .weights = k3_8B, .variant = "full_single_device"},
    {.recipe = kFullOne, .weights = k31_8B, .variant = "full_single_device"},
    {.recipe = kFullOne, .weights = k32_1B, .variant = "full_single_device", .batch_size = 4, .checkpointing = false},
    {.recipe = kFullOne, .weights = k32_3B, .variant = "full_single_device", .batch_size = 4},

    {.recipe = kFull, .weights = k3_8B, .variant = "full", .ranks = 4, .shards_ends = true},
    {.recipe = kFull, .weights = k31_8B, .variant = "full", .ranks = 4, .shards_ends = true},
    {.recipe = kFull, .weights = k32_1B, .variant = "full", .ranks = 4, .batch_size = 4, .accumulation = 8, .checkpointing = false},
    {.recipe = kFull, .weights = k32_3B, .variant = "full", .ranks = 4, .batch_size = 4, .accumulation = 8},
    {.recipe = kFull, .weights = k3_70B, .variant = "full", .ranks = 8, .shards_ends = true, .names_plan = true},
    {.recipe = kFull, .weights = k31_70B, .variant = "full", .ranks = 8, .shards_ends = true, .names_plan = true},
    {.recipe = kFull, .weights = k33_70B, .variant = "full", .ranks = 8, .shards_ends = true, .names_plan = true},
    {.recipe = kFull, .weights = k33_70B, .variant = "full_multinode", .ranks = 8, .batch_size = 4, .shards_ends = true, .is_multinode = true},

    {.recipe = kLoraOne, .weights = k3_8B, .variant = "lora_single_device", .rank = 8, .accumulation = 8, .dataset = kClean},
    {.recipe = kLoraOne, .weights = k3_8B, .variant = "qlora_single_device", .rank = 8, .accumulation = 8, .dataset = kClean},
    {.recipe = kLoraOne, .weights = k3_8B, .variant = "dora_single_device", .rank = 8, .accumulation = 8, .dataset = kClean},
    {.recipe = kLoraOne, .weights = k3_8B, .variant = "qdora_single_device", .rank = 8, .accumulation = 8, .dataset = kClean},
    {.recipe = kLoraOne, .weights = k31_8B, .variant = "lora_single_device", .rank = 8, .accumulation = 8, .dataset = kClean},
    {.recipe = kLoraOne, .weights = k31_8B, .variant = "qlora_single_device", .rank = 8, .accumulation = 8, .dataset = kClean},
    {.recipe = kLoraOne, .weights = k32_1B, .variant = "lora_single_device", .rank = 64, .batch_size = 4, .accumulation = 8, .checkpointing = false, .dataset = kClean},
    {.recipe = kLoraOne, .weights = k32_1B, .variant = "qlora_single_device", .rank = 64, .batch_size = 4, .accumulation = 8, .checkpointing = false, .dataset = kClean},
    {.recipe = kLoraOne, .weights = k32_3B, .variant = "lora_single_device", .rank = 64, .batch_size = 4, .accumulation = 8, .dataset = kClean},
    {.recipe = kLoraOne, .weights = k32_3B, .variant = "qlora_single_device", .rank = 64, .batch_size = 4, .accumulation = 8, .dataset = kClean},

    {.recipe = kLora, .weights = k3_8B, .variant = "lora", .ranks = 2, .rank = 8, .accumulation = 8, .checkpointing = false, .dataset = kClean},
    {.recipe = kLora, .weights = k3_8B, .variant = "dora", .ranks = 2, .rank = 8, .checkpointing = false, .dataset = kClean},
    {.recipe = kLora, .weights = k31_8B, .variant = "lora", .ranks = 2, .rank = 8, .accumulation = 8, .checkpointing = false, .dataset = kClean},
    {.recipe = kLora, .weights = k32_1B, .variant = "lora", .ranks = 2, .rank = 64, .batch_size = 4, .accumulation = 8, .checkpointing = false, .dataset = kClean},
    {.recipe = kLora, .weights = k32_3B, .variant = "lora", .ranks = 2, .rank = 64, .batch_size = 4, .accumulation = 8, .checkpointing = false, .dataset = kClean},
    {.recipe = kLora, .weights = k3_70B, .variant = "lora", .ranks = 8, .rank = 16},
    {.recipe = kLora, .weights = k31_70B, .variant = "lora", .ranks = 8, .rank = 16, .adapter_only = true},
    {.recipe = kLora, .weights = k33_70B, .variant = "lora", .ranks = 8, .rank = 16, .adapter_only = true},
    {.recipe = kLora, .weights = k33_70B, .variant = "qlora", .ranks = 8, .rank = 16, .adapter_only = true},
    {.recipe = kLora, .weights = k31_405B, .variant = "qlora", .ranks = 8, .rank = 16, .batch_size = 1, .accumulation = 8, .adapter_only = true},
});
// clang-format on

bool is_single(const Config& config) {
  return ends_with(config.recipe, "single_device");
}
bool is_lora(const Config& config) {
  return config.rank > 0;
}
bool is_quantised(const Config& config) {
  return starts_with(config.variant, "qlora");
}
bool is_dora(const Config& config) {
  return std::string_view(config.variant).find("dora") != std::string_view::npos;
}
bool is_of(const Config& config, const Weights& weights) {
  return &config.weights == &weights;
}

std::string name_of(const Config& config) {
  return str(config.weights.package, "/", config.weights.size, "_", config.variant);
}

std::string five_digits(int number) {
  const std::string digits = std::to_string(number);
  return std::string(5 - digits.size(), '0') + digits;
}

std::string line(const std::string& key, bool value) {
  return key + (value ? ": true\n" : ": false\n");
}

std::string lines_of_files(int files) {
  constexpr int kMostListed = 9;
  if (files == 1) return "  checkpoint_files: [model.safetensors]\n";
  if (files > kMostListed) {
    return str("  checkpoint_files:\n    filename_format: model-{}-of-{}.safetensors\n    max_filename: \"",
               five_digits(files), "\"\n");
  }
  std::string text = "  checkpoint_files:\n";
  for (int i = 1; i <= files; ++i) {
    text += str("    - model-", five_digits(i), "-of-", five_digits(files), ".safetensors\n");
  }
  return text;
}

std::string model(const Config& config) {
  const Weights& weights = config.weights;
  std::string text =
      str("model:\n  _component_: torchtune.models.", weights.package, ".", is_quantised(config) ? "q" : "",
          is_lora(config) ? "lora_" : "", weights.package, "_", to_lower(weights.size), "\n");
  if (!is_lora(config)) return text;
  text += "  lora_attn_modules: [q_proj, v_proj, output_proj]\n  apply_lora_to_mlp: true\n";
  if (weights.package != std::string("llama3_2")) text += "  apply_lora_to_output: false\n";
  text += str("  lora_rank: ", config.rank, "\n  lora_alpha: ", 2 * config.rank, "\n");
  if (is_dora(config)) text += "  use_dora: true\n";
  if (starts_with(config.variant, "qdora")) text += "  quantize_base: true\n";
  if (!is_of(config, k31_405B) && !is_dora(config)) text += "  lora_dropout: 0.0\n";
  return text;
}

std::string tokenizer(const Config& config) {
  std::string text = str("tokenizer:\n  _component_: torchtune.models.llama3.llama3_tokenizer\n  path: /tmp/",
                         config.weights.folder, "/", config.weights.tokenizer, "\n");
  if (is_of(config, k31_405B) || is_dora(config)) return text;
  return text + "  max_seq_len: " + (config.is_multinode ? "1024" : "null") + "\n";
}

std::string checkpoints(const Config& config) {
  std::string text =
      str("checkpointer:\n  _component_: torchtune.training.FullModelHFCheckpointer\n  checkpoint_dir: /tmp/",
          config.weights.folder, is_of(config, k3_70B) ? "" : "/", "\n", lines_of_files(config.weights.files),
          "  recipe_checkpoint: null\n  output_dir: ${output_dir}\n  model_type: ", config.weights.model_type,
          "\nresume_from_checkpoint: false\n");
  if (is_lora(config) && !is_dora(config)) text += line("save_adapter_weights_only", config.adapter_only);
  return text;
}

std::string data(const Config& config) {
  std::string text =
      str("dataset:\n  _component_: torchtune.datasets.", config.dataset, "\n", line("  packed", config.is_multinode));
  if (is_of(config, k31_405B)) text += "  train_on_input: true\n";
  return text + str("seed: null\nshuffle: true\nbatch_size: ", config.batch_size, "\n");
}

std::string updates(const Config& config) {
  const bool is_paged = is_single(config) && !is_lora(config);
  std::string text =
      str("optimizer:\n  _component_: ", is_paged ? "bitsandbytes.optim.PagedAdamW8bit" : "torch.optim.AdamW", "\n");
  if (!is_paged) text += line("  fused", !config.names_plan);  // not with tensor parallelism
  if (is_lora(config)) text += "  weight_decay: 0.01\n";
  const bool warms_up = is_paged && is_of(config, k3_8B);
  text += str("  lr: ", number_text(is_lora(config) ? 3e-4 : warms_up ? 1e-5 : 2e-5), "\n");
  if (is_lora(config) || warms_up) {
    text +=
        "lr_scheduler:\n  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup\n"
        "  num_warmup_steps: 100\n";
  }
  text += "loss:\n  _component_: torchtune.modules.loss.CEWithChunkedOutputLoss\n\n";
  text += str("epochs: 1\nmax_steps_per_epoch: null\ngradient_accumulation_steps: ", config.accumulation,
              "\nclip_grad_norm: null\n", line("compile", config.is_multinode));
  if (!is_lora(config)) text += line("optimizer_in_bwd", is_paged);
  return text;
}

std::string memory(const Config& config) {
  std::string text = str("device: cuda\ndtype: bf16\n", line("enable_activation_checkpointing", config.checkpointing),
                         line("enable_activation_offloading", false));
  if (config.names_plan) {
    text +=
        "tensor_parallel_dim: 1\ntensor_parallel_plan:\n"
        "  _component_: torchtune.models.llama3.base_llama_tp_plan\n";
  }
  if (config.shards_ends) text += "custom_sharded_layers: [tok_embeddings, output]\n";
  if (config.names_plan || config.is_multinode) text += line("fsdp_cpu_offload", !config.is_multinode);
  if (is_of(config, k31_405B)) text += "fsdp:\n  cpu_offload: false\n";
  if (config.weights.size == std::string_view("8B") && is_quantised(config)) text += line("low_cpu_ram", false);
  return text;
}

std::string config_text(const Config& config) {
  const std::string folder = config.is_multinode ? "full" : config.variant;
  const std::string start = is_single(config) ? "" : str("--nproc_per_node ", config.ranks, " ");
  std::string text = str("# ", is_lora(config) ? "Adapters on a frozen" : "Every weight of", " ", config.weights.folder,
                         is_single(config)     ? ", on one device.\n"
                         : config.is_multinode ? ", on the devices of two machines.\n"
                                               : ", on the devices of one machine.\n");
  text +=
      str("#   millrace tune run ", config.is_multinode ? "--nnodes 2 " : "", start, config.recipe, " --config ",
          name_of(config), "\n# Every key can be overridden behind it, as in batch_size=1 dataset.packed=true.\n\n");
  text += str("output_dir: /tmp/torchtune/", config.weights.package, "_", config.weights.size, "/", folder, "\n\n");
  text += model(config) + "\n" + tokenizer(config) + "\n" + checkpoints(config) + "\n" + data(config) + "\n";
  text += updates(config) + "\n" + memory(config) + "\n";
  return text +
         "metric_logger:\n  _component_: torchtune.training.metric_logging.DiskLogger\n  log_dir: ${output_dir}/logs\n"
         "log_every_n_steps: 1\nlog_peak_memory_stats: true\n\n"
         "profiler:\n  _component_: torchtune.training.setup_torch_profiler\n  enabled: false\n"
         "  output_dir: ${output_dir}/profiling_outputs\n  cpu: true\n  cuda: true\n  profile_memory: false\n"
         "  with_stack: false\n  record_shapes: true\n  with_flops: false\n"
         "  wait_steps: 5\n  warmup_steps: " +
         (is_dora(config) && is_single(config) ? "5" : "3") + "\n  active_steps: 2\n  num_cycles: 1\n";
}

}  // namespace

std::optional<std::string> tune_config_text(const std::string& name) {
  const auto* found =
      std::find_if(kConfigs.begin(), kConfigs.end(), [&](const Config& config) { return name_of(config) == name; });
  return found == kConfigs.end() ? std::nullopt : std::optional(config_text(*found));
}

std::vector<std::string> tune_config_names(const std::string& recipe) {
  std::vector<std::string> names;
  for (const Config& config : kConfigs) {
    if (recipe.empty() || recipe == config.recipe) names.push_back(name_of(config));
  }
  return names;
}

}  // namespace millrace
