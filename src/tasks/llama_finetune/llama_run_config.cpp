#include "tasks/llama_finetune/llama_run_config.h"

#include <charconv>
#include <filesystem>
#include <optional>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "language/prompt_template.h"
#include "tasks/llama_finetune/llama_data_sets.h"

namespace millrace {
namespace {

// What these options would change elsewhere has another name here, or no meaning.
void check_unused(const TrainingConfig& training, Problems& problems) {
  const TrainingConfig defaults;
  if (training.shuffle_buffer_size != defaults.shuffle_buffer_size) {
    problems.add("training.shuffle_buffer_size",
                 str("expected its default for language models, which draw from the whole data set, got ",
                     training.shuffle_buffer_size, " (try finetune.no_shuffle for the order of the files)"));
  }
}

void check_packing(const FinetuneConfig& finetune, Problems& problems) {
  if (finetune.packing != Packing::kNone && finetune.max_seq_len == 0) {
    problems.add("finetune.max_seq_len", "expected the length of a pack, got 0");
  }
  if (finetune.packing != Packing::kGreedy && finetune.split_across_packs) {
    problems.add("finetune.split_across_packs",
                 str("expected finetune.packing = \"greedy\" with it, got \"", choice_text(finetune.packing), "\""));
  }
  if (finetune.packing == Packing::kNone && finetune.max_packs) {
    problems.add("finetune.max_packs", "expected finetune.packing with it, got none");
  }
  if (!finetune.cache_folder.empty() && !finetune.keeps_tokens()) {
    problems.add("finetune.cache_folder",
                 str("expected finetune.cache_tokens = \"disk\" with it, got \"", choice_text(finetune.cache_tokens),
                     finetune.cache_tokens == TokenCaching::kAuto ? "\" and no packing" : "\""));
  }
}

std::optional<double> weight_of(const std::string& text) {
  double weight = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  const bool is_number = error == std::errc() && end == text.data() + text.size();
  return is_number && weight > 0 && weight <= 1000 ? std::optional(weight) : std::nullopt;
}

void check_rows(const FinetuneConfig& finetune, Problems& problems) {
  for (const std::string& pair : finetune.columns) {
    const size_t equals = pair.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == pair.size()) {
      problems.add("finetune.columns", "expected pairs such as \"input=question\", got \"" + pair + "\"");
    }
  }
  if (!is_csv_separator(finetune.csv_separator)) {
    problems.add("finetune.csv_separator", "expected one character, such as \";\" or \"\\t\", got \"" +
                                               json_escape(finetune.csv_separator) + "\"");
  }
  const size_t weights = finetune.data_weights.size();
  if (weights > 0 && weights != finetune.data.size()) {
    problems.add("finetune.data_weights", str("expected one for each of the ", finetune.data.size(),
                                              " sources of finetune.data, got ", weights));
  }
  for (const std::string& text : finetune.data_weights) {
    if (!weight_of(text)) {
      problems.add("finetune.data_weights", "expected numbers above 0 and at most 1000, got \"" + text + "\"");
    }
  }
  if (!finetune.data.empty() && !finetune.data_sets.empty()) {
    problems.add("finetune.data_sets", "expected data or data_sets, got both");
  }
  if (!finetune.validation_data.empty() && !finetune.validation_sets.empty()) {
    problems.add("finetune.validation_sets", "expected validation_data or validation_sets, got both");
  }
  const bool has_no_system = finetune.rows == RowStyle::kAlpaca || finetune.rows == RowStyle::kText;
  if (has_no_system && !finetune.new_system_prompt.empty()) {
    problems.add("finetune.new_system_prompt", str("expected none for rows = \"", choice_text(finetune.rows), "\""));
  }
  if (finetune.max_steps_per_epoch && finetune.order != EpochOrder::kTorchtune) {
    problems.add("finetune.max_steps_per_epoch",
                 "expected finetune.order = \"torchtune\" with it, got \"millrace\" (try training.steps)");
  }
}

void check_prompt_template(const FinetuneConfig& finetune, Problems& problems) {
  if (finetune.prompt_template.empty()) return;
  try {
    parse_prompt_template(finetune.prompt_template, "finetune.prompt_template");
  } catch (const ConfigError& error) {
    problems.add_line(error.what());
  }
  if (finetune.chat_layout != ChatLayout::kTorchtune) {
    problems.add("finetune.prompt_template", "expected finetune.chat_layout = \"torchtune\" with it, got \"template\"");
  }
  if (finetune.rows == RowStyle::kText && finetune.data_sets.empty()) {
    problems.add("finetune.prompt_template", "expected rows of conversations with it, got finetune.rows = \"text\"");
  }
}

void check_sets(const LlamaRunConfig& config, Problems& problems) {
  try {
    if (!config.finetune.data_sets.empty()) training_sets(config);
    if (!config.finetune.validation_sets.empty()) validation_sets(config);
  } catch (const ConfigError& error) {
    problems.add_line(error.what());
  }
}

void check_result_folders(const LlamaRunConfig& config, Problems& problems) {
  const FinetuneConfig& finetune = config.finetune;
  const char* const name = "finetune.result_folders";
  if (finetune.result_folders == ResultNaming::kNone) return;
  if (!config.checkpoint.enable)
    problems.add(name, "expected checkpoint.enable with it, got a run without checkpoints");
  if (config.lora() == nullptr && !finetune.save_model) {
    problems.add(name, "expected finetune.save_model with it, got none");
  }
  if (finetune.result_folders == ResultNaming::kEpochs && finetune.epochs == 0) {
    problems.add(name, "expected finetune.epochs with \"epochs\", got a run of training.steps (try \"steps\")");
  }
}

template <typename Config>
Config& cast(auto& config) {
  if (auto* llama = dynamic_cast<Config*>(&config)) return *llama;
  throw ConfigError("[job.task] expected a task of Llama, got \"" + config.job.task + "\"");
}

}  // namespace

void LlamaRunConfig::describe(OptionCollector& visit) {
  RunConfig::describe(visit);
  visit.section("model", "what is trained", model);
  visit.section("finetune", "the text that is trained on (docs/llama.md)", finetune);
  visit.section("sample", "answers written during training", sample);
}

void LlamaRunConfig::check(Problems& problems) const {
  RunConfig::check(problems);
  check_unused(training, problems);
  check_packing(finetune, problems);
  check_rows(finetune, problems);
  check_prompt_template(finetune, problems);
  check_sets(*this, problems);
  if (finetune.save_merged && lora() == nullptr) {
    problems.add("finetune.save_merged", "expected a run that trains adapters with it, got one of the whole model");
  }
  check_result_folders(*this, problems);
  if (!sample.prompts.empty() && !sample.prompts_file.empty()) {
    problems.add("sample.prompts_file", "expected prompts or prompts_file, got both");
  }
  if (sample.every_steps > 0 && sample.prompts.empty() && sample.prompts_file.empty()) {
    problems.add("sample.prompts", "expected at least one prompt, got none (or set sample.every_steps to 0)");
  }
}

void LlamaRunConfig::check_trainable(Problems& problems) const {
  RunConfig::check_trainable(problems);
  const std::string& weights = checkpoint.initial_load_path;
  if (finetune.data.empty() && finetune.data_sets.empty()) {
    problems.add("finetune.data", "expected files of rows, got nothing");
  }
  if (finetune.tokenizer.empty() && weights.empty()) {
    problems.add("finetune.tokenizer", "expected a tokenizer, or weights that have one beside them, got nothing");
  }
  if (weights.empty() && (model.config.empty() || lora() != nullptr)) {
    problems.add("checkpoint.initial_load_path",
                 lora() != nullptr ? "expected the weights that the adapters are trained on, got nothing"
                                   : "expected weights to start from, got nothing (or set model.config to train from "
                                     "random weights)");
  }
  const bool has_rows = !finetune.validation_data.empty() || !finetune.validation_sets.empty();
  if (validation.enable && !has_rows && finetune.validation_split.empty()) {
    problems.add("finetune.validation_data",
                 "expected rows to validate on, got nothing (or set finetune.validation_split to a part of the data)");
  }
}

std::vector<double> LlamaRunConfig::data_weights() const {
  std::vector<double> weights;
  for (const std::string& text : finetune.data_weights) {
    const std::optional<double> weight = weight_of(text);
    if (!weight) throw ConfigError("[finetune.data_weights] expected numbers above 0, got \"" + text + "\"");
    weights.push_back(*weight);
  }
  return weights;
}

std::filesystem::path LlamaRunConfig::tokenizer_path() const {
  if (!finetune.tokenizer.empty()) return finetune.tokenizer;
  const std::filesystem::path weights = checkpoint.initial_load_path;
  if (weights.empty()) {
    throw ConfigError("[finetune.tokenizer] expected a tokenizer, or weights that have one beside them, got nothing");
  }
  std::error_code ignored;
  if (!std::filesystem::exists(weights, ignored)) {
    throw ModelError("[" + weights.string() + "] expected weights, got nothing of that name (it is " +
                     "checkpoint.initial_load_path)");
  }
  if (std::filesystem::is_directory(weights)) return weights;
  const std::filesystem::path folder = weights.has_parent_path() ? weights.parent_path() : ".";
  const bool carries_one = weights.extension() == ".gguf" && !std::filesystem::exists(folder / "tokenizer.json");
  return carries_one ? weights : folder;
}

LlamaRunConfig& as_llama(RunConfig& config) {
  return cast<LlamaRunConfig>(config);
}

const LlamaRunConfig& as_llama(const RunConfig& config) {
  return cast<const LlamaRunConfig>(config);
}

std::unique_ptr<RunConfig> make_llama_finetune_config() {
  return std::make_unique<LlamaRunConfig>();
}

}  // namespace millrace
