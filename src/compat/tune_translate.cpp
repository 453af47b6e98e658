#include "compat/tune_translate.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "compat/tune_parts.h"

namespace millrace {
namespace {

// Where keys are read that are often written at the top.
struct TableOfKeys {
  const char* table;
  std::vector<const char*> keys;
};
const TableOfKeys kTables[] = {
    {"optimizer", {"lr", "weight_decay", "betas", "eps", "fused", "momentum", "nesterov"}},
    {"lr_scheduler", {"num_warmup_steps", "num_cycles"}},
    {"model",
     {"lora_rank", "lora_alpha", "lora_dropout", "lora_attn_modules", "apply_lora_to_mlp", "apply_lora_to_output",
      "use_dora", "quantize_base"}},
    {"tokenizer", {"max_seq_len", "path", "special_tokens_path", "prompt_template", "truncation_type"}},
    {"dataset",
     {"packed", "split", "source", "data_files", "data_dir", "column", "column_map", "train_on_input",
      "new_system_prompt", "conversation_style", "conversation_column", "split_across_pack", "max_packs", "add_eos",
      "masking_strategy"}},
    {"checkpointer",
     {"checkpoint_files", "model_type", "adapter_checkpoint", "recipe_checkpoint", "safe_serialization",
      "keep_last_n_checkpoints", "enable_dcp"}},
    {"loss", {"num_output_chunks", "ignore_index"}},
    {"profiler",
     {"enabled", "wait_steps", "warmup_steps", "active_steps", "profile_memory", "with_stack", "with_flops",
      "record_shapes"}},
};

// The key itself in its table, or the nearest at the top; "": neither.
std::string meant_key(const std::string& key, const TuneTable& root) {
  for (const TableOfKeys& of : kTables) {
    if (std::ranges::find(of.keys, std::string_view(key)) != of.keys.end()) return std::string(of.table) + "." + key;
  }
  return nearest(key, {root.asked().begin(), root.asked().end()});
}

// Keys at the top that nothing reads: variables of the file's own are fine, others would be without effect.
void check_rest(const TuneTranslator& tune) {
  for (const std::string& key : tune.root.unknown()) {
    const TheirSetting from = tune.root.from(key);
    if (tune.file.variables.contains(key)) {
      tune.out.note(from, Fate::kSameResult, "a word for other keys of the file");
      continue;
    }
    const std::string meant = meant_key(key, tune.root);
    tune.out.refuse(from, "expected a key that the recipe reads, or a word that others use as ${" + key + "}, got " +
                              key + (meant.empty() ? " (try without it)" : " (try " + meant + ")"));
  }
}

}  // namespace

const TuneComponent* TuneTranslator::component(TuneTable& table, TuneRole role) const {
  try {
    const std::string name = table.component();
    return &find_tune_component(
        name, role,
        table.from("_component_").place.empty() ? table.path() + "._component_" : table.from("_component_").place);
  } catch (const ConfigError& error) {
    out.problems().add_line(error.what());
    return nullptr;
  }
}

Translation translate_tune(const TuneRecipe& recipe, const TuneFile& file, const TuneSurroundings& surroundings) {
  Translation translation;
  TuneTranslator translator{recipe, file, surroundings, translation, TuneTable(&file.root, "", file, translation)};
  translation.set("model.name", "llama", {.name = recipe.name, .value = "", .place = ""});
  translation.set("job.task", recipe.is_lora ? "llama_lora" : "llama_finetune",
                  {.name = recipe.name, .value = "", .place = ""});
  translator.model();
  translator.weights();
  translator.data();
  translator.batches();
  translator.updates();
  translator.memory();
  translator.observing();
  check_rest(translator);
  translation.throw_if_refused();
  return translation;
}

}  // namespace millrace
