// How long a run is, in which batches, and by which rule weights change.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/log.h"
#include "base/text.h"
#include "compat/tune_parts.h"
#include "config/optimizer_rules.h"
#include "config/sections/training.h"

namespace millrace {
namespace {

// Ranks that share the layers share their batch.
// Returns the samples of one rank at a time, and of a step over all ranks; nullopt after a refusal.
struct BatchSizes {
  int64_t local = 0, global = 0;
};
std::optional<BatchSizes> batch_sizes(TuneTranslator& tune, int64_t batch, int64_t accumulation) {
  TuneTable& root = tune.root;
  const int64_t world = tune.around.world_size;
  const int64_t degree = root.integer("tensor_parallel_dim").value_or(1);
  if (degree < 1) {
    root.refuse("tensor_parallel_dim", str("expected at least 1, got ", degree, " (1: only data parallelism)"));
    return std::nullopt;
  }
  if (degree == 1 || world == 1) {
    root.note("tensor_parallel_dim", Fate::kSameResult,
              degree == 1 ? "the weights are sharded over all ranks" : "one rank has the whole model");
    return BatchSizes{batch, batch * accumulation * world};
  }
  if (world % degree != 0) {
    root.refuse("tensor_parallel_dim", str("expected a divisor of the ", world, " ranks, got ", degree));
    return std::nullopt;
  }
  tune.out.set("parallelism.tensor_parallel_degree", degree, root.from("tensor_parallel_dim"));
  return BatchSizes{batch, batch * accumulation * (world / degree)};
}

std::optional<double> number_of(const PlacedValue& value) {
  if (value.is(PlacedValue::Kind::kInteger)) return static_cast<double>(value.integer);
  return value.is(PlacedValue::Kind::kFloat) ? std::optional(value.floating) : std::nullopt;
}

void adam_options(const TuneTranslator& tune, TuneTable& table, const std::string& rule) {
  Translation& out = tune.out;
  const PlacedValue* betas = table.value("betas");
  double beta1 = 0.9, beta2 = rule == "Lion" ? 0.99 : 0.999;
  if (betas != nullptr) {
    const bool is_pair = betas->is(PlacedValue::Kind::kList) && betas->items.size() == 2;
    const std::optional<double> first = is_pair ? number_of(betas->items[0]) : std::nullopt;
    const std::optional<double> second = is_pair ? number_of(betas->items[1]) : std::nullopt;
    if (!first || !second) {
      table.refuse("betas", "expected a list of two numbers, got " + describe(*betas));
      return;
    }
    beta1 = *first;
    beta2 = *second;
  }
  const char* const by_default = rule == "Lion" ? "[0.9, 0.99]" : "[0.9, 0.999]";
  out.set("optimizer.beta1", beta1, table.from("betas", by_default));
  out.set("optimizer.beta2", beta2, table.from("betas", by_default));
  if (rule == "Lion") return;
  out.set("optimizer.eps", table.number("eps").value_or(1e-8), table.from("eps", "1e-8"));
  table.refuse_if_true("amsgrad", "expected false, got true: amsgrad is not had");
}

void sgd_options(const TuneTranslator& tune, TuneTable& table) {
  for (const char* key : {"momentum", "dampening"}) {
    if (const auto value = table.number(key)) tune.out.set(std::string("optimizer.") + key, *value, table.from(key));
  }
  if (const auto nesterov = table.flag("nesterov"))
    tune.out.set("optimizer.nesterov", *nesterov, table.from("nesterov"));
}

// The recipes convert it to a number, so that "inf" in quotes, which measures without scaling, is one.
std::optional<double> largest_norm(TuneTranslator& tune) {
  const PlacedValue* value = tune.root.value("clip_grad_norm");
  if (value != nullptr && value->is(PlacedValue::Kind::kText)) {
    const std::string text = to_lower(value->text);
    if (text == "inf" || text == "+inf" || text == "infinity") return std::numeric_limits<double>::infinity();
  }
  return tune.root.number("clip_grad_norm");
}

void optimizer(TuneTranslator& tune) {
  TuneTable table = tune.root.table("optimizer");
  const TuneComponent* component = tune.component(table, TuneRole::kOptimizer);
  if (component == nullptr) return;
  const std::string rule = component->here;
  tune.out.set("optimizer.name", rule, table.from("_component_"));
  const bool is_lion = rule == "Lion";
  tune.out.set("optimizer.lr", table.number("lr").value_or(is_lion ? 1e-4 : 1e-3),
               table.from("lr", is_lion ? "0.0001" : "0.001"));
  const bool decays = rule == "AdamW" || rule == "AdamW8bit";
  tune.out.set("optimizer.weight_decay", table.number("weight_decay").value_or(decays ? 0.01 : 0.0),
               table.from("weight_decay", decays ? "0.01" : "0"));
  if (rule == "SGD") {
    sgd_options(tune, table);
  } else {
    adam_options(tune, table, rule);
  }
  table.refuse_if_true("maximize", "expected false, got true: the loss is made smaller");
  for (const char* key : {"fused", "foreach", "capturable", "differentiable", "is_paged", "block_wise"}) {
    table.note(key, Fate::kSameResult, "");
  }
  table.refuse_unknown();
}

void schedule(TuneTranslator& tune) {
  TuneTable table = tune.root.table("lr_scheduler");
  if (tune.root.value("lr_scheduler") == nullptr) {
    if (tune.recipe.is_lora) {
      tune.root.refuse("lr_scheduler",
                       str("expected a schedule, without which ", tune.recipe.name, " fails, got none"));
    }
    tune.out.set("lr_scheduler.name", "constant", tune.root.from("lr_scheduler", "null"));
    return;
  }
  if (tune.component(table, TuneRole::kSchedule) == nullptr) return;
  const double cycles = table.number("num_cycles").value_or(0.5);
  constexpr double kHalfACosine = 0.5;
  if (cycles == kHalfACosine) {
    tune.out.set("lr_scheduler.name", "cosine", table.from("_component_"));
  } else {  // the same curve, which may fall more than once
    tune.out.set("lr_scheduler.name", "cosine_with_min_lr", table.from("_component_"));
    tune.out.set("lr_scheduler.num_cycles", 2 * cycles, table.from("num_cycles"));
  }
  tune.out.set("lr_scheduler.warmup_steps", table.integer("num_warmup_steps").value_or(0),
               table.from("num_warmup_steps", "0"));
  table.note("num_training_steps", Fate::kSameResult, "the recipe counts the steps");
  table.note("last_epoch", Fate::kSameResult, "the recipe counts the steps");
  table.refuse_unknown();
}

// Keys that 0.6.1 does not read.
bool has_keys_of_main(TuneTranslator& tune) {
  struct Keys {
    const char* table;
    std::vector<const char*> names;
  };
  const Keys keys[] = {{"tokenizer", {"truncation_type"}},
                       {"dataset", {"masking_strategy"}},
                       {"checkpointer", {"keep_last_n_checkpoints", "enable_dcp"}}};
  for (const char* name : {"dataset_val", "run_val_every_n_steps", "batch_size_val", "data_parallel_shard_dim",
                           "data_parallel_replicate_dim", "context_parallel_dim", "context_parallel_rotate_method",
                           "save_every_n_steps", "enable_fp8_training", "fp8_recipe_name", "resize_token_embeddings"}) {
    if (tune.root.has(name)) return true;
  }
  const auto has_one = [&](const Keys& of) {
    const PlacedValue* table = tune.root.value(of.table);
    if (table == nullptr || !table->is(PlacedValue::Kind::kTable)) return false;
    return std::ranges::any_of(of.names, [&](const char* name) { return table->find(name) != nullptr; });
  };
  return std::ranges::any_of(keys, has_one);
}

void loss(TuneTranslator& tune) {
  TuneTable table = tune.root.table("loss");
  const TuneComponent* component = tune.component(table, TuneRole::kLoss);
  if (component == nullptr) return;
  tune.out.set("finetune.torchtune_version", has_keys_of_main(tune) ? "main" : component->here,
               table.from("_component_"));
  tune.out.note(table.from("_component_"), Fate::kBecame, "the mean over trained tokens, of logits in parts");
  if (const std::string reduction = table.text("reduction").value_or("mean"); reduction != "mean") {
    table.refuse("reduction", "expected mean, got " + json_escape(reduction));
  }
  for (const char* key : {"num_output_chunks", "mask_ignored_tokens", "tp_enabled", "reduction"}) {
    table.note(key, Fate::kSameResult, "");
  }
  constexpr int64_t kIgnored = -100;
  if (table.integer("ignore_index").value_or(kIgnored) != kIgnored) {
    table.refuse("ignore_index", "expected -100, got " + table.from("ignore_index").value);
  }
  table.refuse_unknown();
}

// Taken where the optimizer can do it and gradients are large; otherwise weights change after the backward pass, which
// gives the same result.
void set_in_backward(const TuneTranslator& tune, bool in_backward) {
  const TomlValue* name = tune.out.find("optimizer.name");
  const TheirSetting from = tune.root.from("optimizer_in_bwd");
  const bool is_lora = tune.recipe.is_lora, has_ranks = tune.around.world_size > 1;
  const bool can = name != nullptr && optimizer_rule(name->text).has("in_backward");
  if (in_backward && can && !is_lora && !has_ranks) return tune.out.set("optimizer.in_backward", true, from);
  const char* why = "weights change after the backward pass";
  if (in_backward && is_lora) {
    why = "the gradients of adapters are small";
  } else if (in_backward && has_ranks) {
    why = "weights change after the backward pass, and ranks share the gradients";
  }
  tune.out.note(from, Fate::kSameResult, why);
}

// A whole number of at least 1. Without one the key is refused: once, as integer() has refused another type.
std::optional<int64_t> required_count(TuneTable& root, const std::string& key) {
  const std::optional<int64_t> count = root.integer(key);
  if (count && *count >= 1) return count;
  const bool is_of_another_type = !count && root.value(key) != nullptr;
  if (!is_of_another_type) root.refuse(key, "expected at least 1, got " + (count ? std::to_string(*count) : "none"));
  return std::nullopt;
}

}  // namespace

void TuneTranslator::batches() {
  const std::optional<int64_t> batch = required_count(root, "batch_size");
  const int64_t accumulation = root.integer("gradient_accumulation_steps").value_or(1);
  if (accumulation < 1) root.refuse("gradient_accumulation_steps", str("expected at least 1, got ", accumulation));
  if (batch && accumulation >= 1) {
    if (const auto sizes = batch_sizes(*this, *batch, accumulation)) {
      out.set("training.local_batch_size", sizes->local, root.from("batch_size"));
      out.set("training.global_batch_size", sizes->global, root.from("gradient_accumulation_steps", "1"));
    }
  }
  if (const auto epochs = required_count(root, "epochs")) out.set("finetune.epochs", *epochs, root.from("epochs"));
  if (const auto most = root.integer("max_steps_per_epoch")) {
    out.set("finetune.max_steps_per_epoch", *most, root.from("max_steps_per_epoch"));
  }
  if (const auto seed = root.integer("seed")) {
    out.set("training.seed", *seed, root.from("seed"));
  } else {
    root.value("seed");
    out.set("training.random_seed", true, root.from("seed", "null"));
  }
  if (const auto copies = root.integer("data_parallel_replicate_dim"); copies && *copies != 1) {
    out.set("parallelism.data_parallel_replicate_degree", *copies, root.from("data_parallel_replicate_dim"));
  }
  const auto shards = root.integer("data_parallel_shard_dim");
  if (shards && *shards != -1) {
    out.set("parallelism.data_parallel_shard_degree", *shards, root.from("data_parallel_shard_dim"));
  }
  if (root.integer("context_parallel_dim").value_or(1) != 1) {
    root.refuse("context_parallel_dim",
                "expected 1, got " + root.from("context_parallel_dim").value + ": a sample lies on one rank");
  }
  root.note("context_parallel_rotate_method", Fate::kSameResult, "there is no context parallelism");
  TuneTable plan = root.table("tensor_parallel_plan");
  if (root.value("tensor_parallel_plan") != nullptr && component(plan, TuneRole::kParallelPlan) != nullptr) {
    root.note("tensor_parallel_plan", Fate::kSameResult, "layers are split as the model's own plan says");
  }
}

void TuneTranslator::updates() {
  optimizer(*this);
  schedule(*this);
  loss(*this);
  if (const auto norm = largest_norm(*this); norm && std::isfinite(*norm)) {
    out.set("training.max_norm", *norm, root.from("clip_grad_norm"));
  } else {
    out.set("training.max_norm", kUnlimitedNorm, root.from("clip_grad_norm", "null"));
    out.note(root.from("clip_grad_norm", "null"), Fate::kBecame, "gradients are not scaled");
  }
  const bool in_backward = root.flag("optimizer_in_bwd").value_or(false);
  if (in_backward && root.integer("gradient_accumulation_steps").value_or(1) > 1) {
    root.refuse("optimizer_in_bwd", "expected false with gradient_accumulation_steps, got true");
  } else {
    set_in_backward(*this, in_backward);
  }
}

}  // namespace millrace
