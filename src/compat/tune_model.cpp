// What is trained, by which tokenizer, and where its weights come from and go to.
#include <algorithm>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <system_error>

#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "compat/tune_parts.h"
#include "formats/weight_store.h"
#include "tokenizers/byte_level_vocabulary.h"

namespace millrace {
namespace {

// torchtune's names of layers, and Hugging Face's.
struct LayerName {
  const char* theirs;
  const char* ours;
};
constexpr LayerName kAttention[] = {
    {"q_proj", "q_proj"}, {"k_proj", "k_proj"}, {"v_proj", "v_proj"}, {"output_proj", "o_proj"}};

// As torchtune has them: their builders take no adapter on the output layer, which is the embedding.
bool has_tied_output(const TuneModel& builder, TuneTable& model) {
  const std::string_view name = builder.builder;
  return model.flag("tie_word_embeddings").value_or(name.ends_with("llama3_2_1b") || name.ends_with("llama3_2_3b"));
}

std::vector<std::string> targets(TuneTable& model) {
  std::vector<std::string> layers;
  for (const std::string& name : model.texts("lora_attn_modules").value_or(std::vector<std::string>{})) {
    const auto* found = std::find_if(std::begin(kAttention), std::end(kAttention),
                                     [&](const LayerName& layer) { return name == layer.theirs; });
    if (found == std::end(kAttention)) {
      model.refuse("lora_attn_modules",
                   "expected some of q_proj, k_proj, v_proj, output_proj, got " + json_escape(name));
    } else {
      layers.emplace_back(found->ours);
    }
  }
  if (model.flag("apply_lora_to_mlp").value_or(false)) {
    layers.insert(layers.end(), {"gate_proj", "down_proj", "up_proj"});
  }
  if (model.flag("apply_lora_to_output").value_or(false)) layers.emplace_back("lm_head");
  return layers;
}

void adapters(const TuneTranslator& tune, TuneTable& model, const ChosenTuneModel& chosen) {
  Translation& out = tune.out;
  if (model.flag("apply_lora_to_output").value_or(false) && has_tied_output(*chosen.model, model)) {
    model.refuse("apply_lora_to_output",
                 "expected false, got true: torchtune does not support it for this model, whose output layer is its "
                 "embedding (tied)");
  }
  const std::vector<std::string> layers = targets(model);
  if (layers.empty()) {
    model.refuse("lora_attn_modules", "expected layers for adapters, got none");
  } else {
    out.set("lora.targets", layers, model.from("lora_attn_modules"));
  }
  for (const char* key : {"apply_lora_to_mlp", "apply_lora_to_output"}) {
    if (model.has(key)) out.note(model.from(key), Fate::kBecame, "part of lora.targets");
  }
  out.set("lora.rank", model.integer("lora_rank").value_or(8), model.from("lora_rank", "8"));
  out.set("lora.alpha", model.number("lora_alpha").value_or(16), model.from("lora_alpha", "16"));
  if (const auto dropout = model.number("lora_dropout"); dropout && *dropout != 0) {
    out.set("lora.dropout", *dropout, model.from("lora_dropout"));
  } else {
    model.note("lora_dropout", Fate::kSameResult, "");
  }
  if (model.flag("use_dora").value_or(false)) out.set("lora.kind", "dora", model.from("use_dora"));
  const bool is_quantised = model.flag("quantize_base").value_or(chosen.adapter == TuneAdapter::kQuantizedLora);
  if (is_quantised) {
    out.set("lora.base_dtype", "nf4_torchao", model.from(model.has("quantize_base") ? "quantize_base" : "_component_"));
  }
}

// The sizes that generic builders take; here they are those of the folder of the weights.
void sizes(TuneTable& model) {
  for (const char* key : {"vocab_size", "num_layers", "num_heads", "num_kv_heads", "embed_dim", "max_seq_len",
                          "intermediate_dim", "norm_eps", "rope_base", "scale_factor", "tie_word_embeddings"}) {
    model.note(key, Fate::kSameResult, "sizes are those of config.json beside the weights");
  }
  if (model.number("attn_dropout").value_or(0) > 0) {
    model.refuse("attn_dropout", "expected 0, got " + model.from("attn_dropout").value);
  }
}

// The value of finetune.prompt_template; empty: what cannot be one.
std::string prompt_template(const PlacedValue& value) {
  if (value.is(PlacedValue::Kind::kText)) {
    for (const auto& [theirs, ours] : {std::pair{"torchtune.data.ChatMLTemplate", "chatml"},
                                       {"torchtune.data.GrammarErrorCorrectionTemplate", "grammar"},
                                       {"torchtune.data.SummarizeTemplate", "summarize"},
                                       {"torchtune.data.QuestionAnswerTemplate", "question_answer"}}) {
      if (value.text == theirs) return ours;
    }
    return "";
  }
  if (!value.is(PlacedValue::Kind::kTable) || value.items.empty()) return "";
  nlohmann::ordered_json roles;
  for (const PlacedValue& role : value.items) {
    if (!role.is(PlacedValue::Kind::kList) || role.items.size() != 2) return "";
    for (const PlacedValue& words : role.items) {
      if (!words.is(PlacedValue::Kind::kText) && !words.is(PlacedValue::Kind::kNull)) return "";
      roles[role.key].push_back(words.text);
    }
  }
  return roles.dump();
}

// Templates are for messages, which texts have none of.
bool has_texts_alone(TuneTranslator& tune) {
  const auto is_text = [](const PlacedValue& one) {
    const PlacedValue* name = one.find("_component_");
    const auto is = [&](const char* builder) {
      return name != nullptr && name->text == std::string("torchtune.datasets.") + builder;
    };
    return is("text_completion_dataset") || is("cnn_dailymail_articles_dataset") || is("wikitext_dataset");
  };
  const PlacedValue* data = tune.root.value("dataset");
  if (data == nullptr || !data->is(PlacedValue::Kind::kList)) return data != nullptr && is_text(*data);
  return std::ranges::all_of(data->items, is_text);
}

// checkpoint_files: a list, or a format with the largest number. Empty after a refusal, and where there are none.
std::vector<std::string> named_files(TuneTable& checkpointer) {
  const PlacedValue* value = checkpointer.value("checkpoint_files");
  if (value == nullptr) return {};
  if (!value->is(PlacedValue::Kind::kTable)) {
    return checkpointer.texts("checkpoint_files").value_or(std::vector<std::string>{});
  }
  TuneTable table = checkpointer.table("checkpoint_files");
  const std::string format = table.text("filename_format").value_or(""), last = table.text("max_filename").value_or("");
  const size_t first = format.find("{}"), second = first == std::string::npos ? first : format.find("{}", first + 2);
  const auto count = parse_integer(last);
  constexpr int64_t kMost = 10'000;
  if (second == std::string::npos || !count || *count < 1 || *count > kMost) {
    checkpointer.refuse("checkpoint_files",
                        "expected filename_format with {} for a file's number and {} for the largest, and max_filename "
                        "such as \"00030\", got " +
                            checkpointer.from("checkpoint_files").value);
    return {};
  }
  std::vector<std::string> names;
  for (int64_t number = 1; number <= *count; ++number) {
    const std::string digits = std::to_string(number);
    const std::string padded = std::string(last.size() - std::min(last.size(), digits.size()), '0') + digits;
    names.push_back(format.substr(0, first) + padded + format.substr(first + 2, second - first - 2) + last +
                    format.substr(second + 2));
  }
  table.refuse_unknown();
  return names;
}

// The files that a run reads of a folder or an index; none where it cannot, which the run says.
std::set<std::string> read_files(const std::filesystem::path& folder) {
  std::set<std::string> names;
  try {
    for (const std::filesystem::path& file : WeightStore(folder).files()) names.insert(file.filename().string());
  } catch (const std::exception&) {
    return {};
  }
  return names;
}

// The files that a run would read anyway, or one other, are taken; a part of the weights is not.
void weight_files(TuneTranslator& tune, TuneTable& checkpointer, const std::filesystem::path& folder) {
  const char* const key = "checkpoint_files";
  const std::vector<std::string> names = named_files(checkpointer);
  std::error_code ignored;
  if (names.empty() || !std::filesystem::is_directory(folder, ignored)) {
    checkpointer.note(key, Fate::kSameResult, "the files are those that the folder's index names");
    return;
  }
  std::vector<std::string> missing;
  for (const std::string& name : names) {
    if (!std::filesystem::is_regular_file(folder / name, ignored)) missing.push_back(name);
  }
  if (missing.size() == names.size()) {  // a configuration for a model of another size, as it stands
    return checkpointer.note(key, Fate::kNoEffect,
                             "none of them is in " + folder.string() + ", whose own files are read");
  }
  if (!missing.empty()) {
    return checkpointer.refuse(
        key, "expected files of " + folder.string() + ", got " + json_escape(missing.front()) + ", which is not there");
  }
  const std::set<std::string> ours = read_files(folder), theirs(names.begin(), names.end());
  if (ours.empty() || ours == theirs) {
    return checkpointer.note(key, Fate::kSameResult, "they are the files of the folder that a run reads");
  }
  const std::filesystem::path index = folder / "model.safetensors.index.json";  // beside a file of all weights
  const bool is_one = names.size() == 1 && !(ours.size() > 1 && ours.contains(names.front()));
  if (is_one || read_files(index) == theirs) {
    const std::filesystem::path path = is_one ? folder / names.front() : index;
    return tune.out.set("checkpoint.initial_load_path", path.string(), checkpointer.from(key));
  }
  checkpointer.refuse(key, "expected " + join({ours.begin(), ours.end()}, ", ") + ", the files of the weights in " +
                               folder.string() + ", or one file that has all of them, got " + join(names, ", "));
}

// torchtune writes adapters twice, as a pickle and, beside it, as PEFT reads them. A path of adapter_checkpoint begins
// in output_dir.
void initial_adapter(TuneTranslator& tune, TuneTable& checkpointer, const std::string& output_dir) {
  const auto path = checkpointer.text("adapter_checkpoint");
  if (!path) return;
  if (!tune.recipe.is_lora) {
    checkpointer.refuse("adapter_checkpoint", "expected null for a recipe without adapters, got " + *path);
    return;
  }
  const std::filesystem::path given = std::filesystem::path(output_dir) / *path;  // *path where it is absolute
  const bool is_pickle = given.extension() == ".pt";
  const TheirSetting from = checkpointer.from("adapter_checkpoint");
  tune.out.set("lora.initial_adapter", (is_pickle ? given.parent_path() : given).string(), from);
  tune.out.note(from, Fate::kBecame,
                str(is_pickle ? "the adapter_model.safetensors beside it is read; " : "",
                    "a new run starts from these adapters, whatever resume_from_checkpoint says; the optimizer's state "
                    "is not taken over"));
}

// The newest checkpoint in output_dir is resumed from in any case; here the case that there is none.
void resuming(TuneTranslator& tune, const std::string& output_dir) {
  std::error_code ignored;
  const bool resumes = tune.root.flag("resume_from_checkpoint").value_or(false);
  const std::filesystem::path own = std::filesystem::path(output_dir) / "checkpoint";
  if (!resumes || std::filesystem::exists(own, ignored)) {
    tune.root.note("resume_from_checkpoint", Fate::kSameResult,
                   "a run resumes by itself from the newest checkpoint in its folder");
  } else {
    tune.root.note("resume_from_checkpoint", Fate::kNoEffect,
                   "output_dir has no checkpoint of this program, so that the run is new; torchtune's own state is a "
                   "pickle, which is not read (checkpointer.checkpoint_dir takes weights over, adapter_checkpoint "
                   "adapters)");
  }
}

// A tokenizer.model beside a tokenizer.json: whether one is another model's. What cannot be read is for training to
// name.
bool are_unlike(const std::string& model, const std::string& json) {
  try {
    if (!is_tiktoken_model(model)) return false;
    const std::vector<std::string> theirs = read_tiktoken_model(model).tokens;
    const std::vector<std::string> ours = read_byte_level_json(nlohmann::json::parse(read_file(json)), json).tokens;
    const auto known = [](const std::string& token) { return !token.empty(); };
    return std::ranges::count_if(theirs, known) != std::ranges::count_if(ours, known) ||
           !std::equal(theirs.begin(), theirs.begin() + std::min(theirs.size(), ours.size()), ours.begin());
  } catch (const std::exception&) {
    return false;
  }
}

void tokenizer(TuneTranslator& tune) {
  TuneTable table = tune.root.table("tokenizer");
  if (tune.component(table, TuneRole::kTokenizer) == nullptr) return;
  const auto path = table.text("path"), special = table.text("special_tokens_path");
  if (special) {  // it has the whole vocabulary, too
    tune.out.set("finetune.tokenizer", *special, table.from("special_tokens_path"));
    std::error_code ignored;
    if (path && std::filesystem::exists(*special, ignored) && !std::filesystem::exists(*path, ignored)) {
      table.refuse("path", "expected the vocabulary beside " + *special + ", got nothing of the name " + *path);
    } else if (path && are_unlike(*path, *special)) {
      table.refuse("path", "expected the vocabulary of " + *special + ", got another one in " + *path);
    } else {
      table.note("path", Fate::kSameResult, "special_tokens_path has the same vocabulary");
    }
  } else if (path) {
    tune.out.set("finetune.tokenizer", *path, table.from("path"));
  } else {
    table.refuse("path", "expected the path of tokenizer.model, got none");
  }
  tune.out.set("finetune.max_seq_len", table.integer("max_seq_len").value_or(0), table.from("max_seq_len", "null"));
  if (const auto side = table.text("truncation_type")) {
    tune.out.set("finetune.truncation", *side, table.from("truncation_type"));
  }
  if (const PlacedValue* words = table.value("prompt_template")) {
    const std::string ours = prompt_template(*words);
    if (ours.empty()) {
      table.refuse("prompt_template",
                   "expected words before and after the messages of each role, {user: [\"Question: \", \"Answer: \"]}, "
                   "or a template of torchtune.data, got " +
                       table.from("prompt_template").value);
    } else if (has_texts_alone(tune)) {
      table.note("prompt_template", Fate::kSameResult, "it is for messages, and the rows are texts");
    } else {
      tune.out.set("finetune.prompt_template", ours, table.from("prompt_template"));
    }
  }
  table.refuse_unknown();
}

}  // namespace

void TuneTranslator::model() {
  TuneTable table = root.table("model");
  try {
    const TheirSetting name = table.from("_component_");
    const ChosenTuneModel chosen =
        find_tune_model(table.component(), name.place.empty() ? "model._component_" : name.place);
    const bool is_lora = chosen.adapter != TuneAdapter::kNone;
    if (is_lora != recipe.is_lora) {
      table.refuse("_component_", std::string("expected a model ") + (recipe.is_lora ? "with" : "without") +
                                      " adapters for " + recipe.name + ", got " + name.value +
                                      (recipe.is_lora ? " (try lora_ before its name)" : " (try lora_finetune_*)"));
    }
    out.note(name, Fate::kBecame, "the model whose config.json is in checkpointer.checkpoint_dir");
    sizes(table);
    if (is_lora) adapters(*this, table, chosen);
    table.refuse_unknown();
  } catch (const ConfigError& error) {
    out.problems().add_line(error.what());
  }
  tokenizer(*this);
}

void TuneTranslator::weights() {
  const auto folder = root.text("output_dir");
  if (folder) {
    out.set("job.dump_folder", *folder, root.from("output_dir"));
  } else {
    root.refuse("output_dir", "expected a folder, got none");
  }
  TuneTable table = root.table("checkpointer");
  if (component(table, TuneRole::kCheckpointer) != nullptr) {
    if (const auto path = table.text("checkpoint_dir")) {
      out.set("checkpoint.initial_load_path", *path, table.from("checkpoint_dir"));
      weight_files(*this, table, *path);
    } else {
      table.refuse("checkpoint_dir", "expected the folder of the weights, got none");
    }
    table.note("model_type", Fate::kSameResult, "config.json beside the weights says it");
    const auto out_dir = table.text("output_dir");
    if (out_dir && folder && *out_dir != *folder) {
      table.refuse("output_dir", "expected output_dir, " + *folder + ", got " + *out_dir +
                                     " (a run has one folder: try checkpointer.output_dir=" + *folder + ")");
    } else {
      table.note("output_dir", Fate::kSameResult, "it is job.dump_folder, too");
    }
    if (table.value("recipe_checkpoint") != nullptr) {
      table.refuse("recipe_checkpoint", "expected null, got " + table.from("recipe_checkpoint").value +
                                            ": a pickle, which is not read; a run resumes from its own folder" +
                                            (recipe.is_lora ? ", and adapter_checkpoint starts from adapters" : ""));
    }
    initial_adapter(*this, table, folder.value_or(""));
    if (!table.flag("safe_serialization").value_or(true)) {
      table.refuse("safe_serialization", "expected true, got false: pickles are never written");
    }
    table.note("enable_dcp", Fate::kSameResult, "every rank writes its part");
    if (const auto keep = table.integer("keep_last_n_checkpoints")) {
      out.set("checkpoint.keep_latest_k", *keep, table.from("keep_last_n_checkpoints"));
    } else {
      out.set("checkpoint.keep_latest_k", int64_t{0}, table.from("keep_last_n_checkpoints", "null"));
    }
    table.refuse_unknown();
  }
  out.set("checkpoint.enable", true, root.from("save_every_n_steps", "null"));
  if (const auto every = root.integer("save_every_n_steps")) {
    out.set("checkpoint.interval", *every, root.from("save_every_n_steps"));
    out.set("finetune.result_folders", "steps", root.from("save_every_n_steps"));
  } else {
    out.set("finetune.result_folders", "epochs", root.from("output_dir"));
  }
  if (root.flag("enable_async_checkpointing").value_or(false)) {
    out.set("checkpoint.async_mode", "async", root.from("enable_async_checkpointing"));
  }
  resuming(*this, folder.value_or(""));
  if (!recipe.is_lora) {
    root.note("save_adapter_weights_only", Fate::kSameResult, "there are no adapters");
  } else if (root.flag("save_adapter_weights_only").value_or(false)) {
    root.note("save_adapter_weights_only", Fate::kSameResult, "the adapters are in the folder adapter of output_dir");
  } else {
    out.set("finetune.save_merged", true, root.from("save_adapter_weights_only", "false"));
  }
  if (root.has("checkpoint_dir") && !file.variables.contains("checkpoint_dir")) {
    root.note("checkpoint_dir", Fate::kNoEffect, "no recipe reads this key; checkpointer.checkpoint_dir is the one");
  } else {
    root.value("checkpoint_dir");
  }
}

}  // namespace millrace
