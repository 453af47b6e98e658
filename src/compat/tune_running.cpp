// Precision and memory, logs and profiles.
#include <filesystem>

#include "base/text.h"
#include "compat/tune_parts.h"

namespace millrace {
namespace {

void metric_logger(TuneTranslator& tune) {
  TuneTable table = tune.root.table("metric_logger");
  if (tune.root.value("metric_logger") == nullptr) return;
  const TuneComponent* component = tune.component(table, TuneRole::kMetricLogger);
  if (component == nullptr) return;
  const std::string kind = component->here;
  const TheirSetting from = table.from("_component_");
  if (kind == "tensorboard") {
    tune.out.set("metrics.enable_tensorboard", true, from);
  } else if (kind == "service") {
    tune.out.note(from, Fate::kNoEffect,
                  "nothing is sent to a service; metrics.jsonl in the run's folder has every number");
  } else {
    tune.out.note(from, Fate::kBecame, "metrics.jsonl and log.txt in the run's folder");
  }
  for (const char* key : {"log_dir", "filename", "output_fmt", "organize_logs"}) {
    table.note(key, Fate::kSameResult, "logs are in the run's folder");
  }
  for (const char* key : {"project", "entity", "group", "name", "workspace", "experiment_name", "tags", "log_code"}) {
    table.note(key, Fate::kNoEffect, "nothing is sent to a service");
  }
  table.refuse_unknown();
}

void profiler(TuneTranslator& tune) {
  TuneTable& root = tune.root;
  if (const PlacedValue* value = root.value("profiler"); value != nullptr && value->is(PlacedValue::Kind::kBool)) {
    root.refuse("profiler", "expected a table, got " + describe(*value) + " (try profiler.enabled)");
    return;
  }
  TuneTable table = root.table("profiler");
  if (root.value("profiler") == nullptr) return;
  if (table.has("_component_") && tune.component(table, TuneRole::kProfiler) == nullptr) return;
  Translation& out = tune.out;
  out.set("profiling.enable_profiling", table.flag("enabled").value_or(false), table.from("enabled", "false"));
  // Where no schedule is given at all, torchtune's.
  const bool has_schedule = table.has("wait_steps") || table.has("warmup_steps") || table.has("active_steps");
  out.set("profiling.wait_steps", table.integer("wait_steps").value_or(has_schedule ? 0 : 5),
          table.from("wait_steps", "5"));
  out.set("profiling.warmup_steps", table.integer("warmup_steps").value_or(has_schedule ? 0 : 5),
          table.from("warmup_steps", "5"));
  out.set("profiling.active_steps", table.integer("active_steps").value_or(2), table.from("active_steps", "2"));
  out.set("profiling.num_cycles", table.integer("num_cycles").value_or(1), table.from("num_cycles", "1"));
  if (const auto folder = table.text("output_dir")) {
    const std::filesystem::path inside =
        std::filesystem::path(*folder).lexically_relative(root.text("output_dir").value_or(""));
    const bool is_inside = !inside.empty() && inside != "." && !starts_with(inside.string(), "..");
    out.set("profiling.save_traces_folder", is_inside ? inside.string() : "profiling_outputs",
            table.from("output_dir"));
    if (!is_inside) out.note(table.from("output_dir"), Fate::kBecame, "a folder in that of the run");
  }
  for (const char* key : {"cpu", "cuda", "xpu", "hpu", "record_shapes"}) table.note(key, Fate::kSameResult, "");
  for (const char* key : {"profile_memory", "with_stack", "with_flops"}) {
    if (const auto given = table.flag(key)) out.set(std::string("profiling.") + key, *given, table.from(key));
  }
  if (table.flag("profile_memory").value_or(false)) {
    out.note(table.from("profile_memory"), Fate::kBecame,
             "allocations are in the trace; torchtune's snapshot is a pickle, which is not written");
  }
  table.refuse_unknown();
}

void recomputation(TuneTranslator& tune) {
  TuneTable& root = tune.root;
  const bool full = root.flag("enable_activation_checkpointing").value_or(false);
  const auto mode = root.text("ac_mode");
  root.value("ac_option");
  if (!full && mode == "selective") {
    tune.out.set("activation_checkpoint.mode", "selective", root.from("ac_mode"));
    if (root.has("ac_option")) {
      root.note("ac_option", Fate::kSameResult, "every layer keeps its matrix products and recomputes the rest");
    }
  } else {
    if (mode && *mode != "full" && *mode != "selective") {
      root.refuse("ac_mode", "expected full or selective, got " + json_escape(*mode));
    }
    tune.out.set("activation_checkpoint.mode", full || mode == "full" ? "full" : "none",
                 root.from("enable_activation_checkpointing", "false"));
  }
  const char* const offloading = "enable_activation_offloading";
  if (!root.flag(offloading).value_or(false)) {
    root.note(offloading, Fate::kSameResult, "");
  } else if (full) {
    tune.out.set("activation_checkpoint.offload", true, root.from(offloading));
  } else {
    root.refuse(offloading, "expected enable_activation_checkpointing: true with it, as torchtune does, got false");
  }
  if (root.flag("fsdp_cpu_offload").value_or(false)) {
    root.note("fsdp_cpu_offload", Fate::kNoEffect, "weights stay on their device; the result is the same");
  } else {
    root.note("fsdp_cpu_offload", Fate::kSameResult, "");
  }
  root.note("activation_offloading_use_streams", Fate::kSameResult, "");
  root.note("low_cpu_ram", Fate::kSameResult, "weights are read one tensor at a time");
  root.note("fsdp", Fate::kSameResult, "no recipe reads this key");
}

}  // namespace

void TuneTranslator::memory() {
  const std::string device = root.text("device").value_or("cuda");
  const std::string plain = device.substr(0, device.find(':'));
  if (plain == "cuda" || plain == "cpu") {
    out.set("training.device", plain, root.from("device", "cuda"));
  } else {
    root.refuse("device", "expected cuda or cpu, got " + json_escape(device));
  }
  const std::string dtype = root.text("dtype").value_or("");
  if (dtype == "bf16" || dtype == "fp32") {
    const std::string ours = dtype == "bf16" ? "bfloat16" : "float32";
    out.set("training.dtype", ours, root.from("dtype"));
    out.set("training.mixed_precision_param", ours, root.from("dtype"));
    if (dtype == "bf16") {
      out.note(
          root.from("dtype"), Fate::kBecame,
          "weights are kept in 16 bits, as there; unlike there, small updates are rounded up or down at random, so "
          "that they are not lost (--optimizer.stochastic_rounding=false)");
    }
  } else {
    root.refuse("dtype", "expected bf16 or fp32, got " + (dtype.empty() ? "none" : json_escape(dtype)));
  }
  recomputation(*this);
  if (const auto frees = root.flag("fsdp_reshard_after_forward")) {
    out.set("parallelism.fsdp_reshard_after_forward", *frees ? "default" : "never",
            root.from("fsdp_reshard_after_forward"));
  }
  root.note("custom_sharded_layers", Fate::kSameResult, "every layer is sharded");
  root.note("compile", Fate::kSameResult, "kernels are compiled already");
  root.note("cudnn_deterministic_mode", Fate::kSameResult, "");
  root.refuse_if_true("enable_fp8_training", "expected false, got true: products are computed in 16 or 32 bits");
  root.note("fp8_recipe_name", Fate::kSameResult, "there is no training in 8 bits");
  root.refuse_if_true("resize_token_embeddings", "expected false, got true: the model keeps its vocabulary");
}

void TuneTranslator::observing() {
  out.set("metrics.log_freq", root.integer("log_every_n_steps").value_or(1), root.from("log_every_n_steps", "1"));
  root.note("log_peak_memory_stats", Fate::kSameResult, "memory is always logged");
  root.note("log_level", Fate::kSameResult, "");
  metric_logger(*this);
  profiler(*this);
}

}  // namespace millrace
