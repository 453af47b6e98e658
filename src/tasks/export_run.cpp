#include "tasks/export_run.h"

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "adapters/configured_adapter.h"
#include "adapters/lora_options.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/json.h"
#include "tasks/gguf_model.h"
#include "tasks/language_files.h"
#include "tasks/task_table.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

torch::Tensor convert(const torch::Tensor& tensor, const ExportOptions& options) {
  return options.dtype ? tensor.to(*options.dtype) : tensor;
}

// The type of most values.
torch::ScalarType main_dtype(const TensorMap& tensors) {
  std::map<torch::ScalarType, int64_t> values;
  for (const auto& [name, tensor] : tensors) values[tensor.scalar_type()] += tensor.numel();
  const auto most =
      std::max_element(values.begin(), values.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == values.end() ? torch::kFloat32 : most->first;
}

// Hugging Face's config.json says the dtype of the weights beside it, under a name that depends on its age.
std::string with_dtype(const std::string& config_json, const TensorMap& theirs) {
  const torch::ScalarType dtype = main_dtype(theirs);
  auto json = parse_ordered_json<ModelError>(config_json, "the model's config.json");
  const char* key = json.contains("dtype") ? "dtype" : "torch_dtype";
  json[key] = dtype == torch::kBFloat16 ? "bfloat16" : dtype == torch::kFloat16 ? "float16" : "float32";
  return json.dump(2) + "\n";
}

constexpr uint64_t kUsualShardBytes = uint64_t{5} * 1000 * 1000 * 1000;

// A folder of files that get their names together, when all of them are complete.
class FolderInProgress {
 public:
  explicit FolderInProgress(fs::path folder) : folder_(std::move(folder)), was_there_(fs::exists(folder_)) {
    std::error_code error;
    fs::remove_all(unfinished(), error);  // of a process that was killed
    if (error) throw StorageError(str("[", unfinished().string(), "] expected a free name, got: ", error.message()));
    create_folders(unfinished());
  }
  ~FolderInProgress() {
    std::error_code ignored;
    fs::remove_all(unfinished(), ignored);
    if (!is_complete_ && !was_there_) fs::remove(folder_, ignored);
  }
  FolderInProgress(const FolderInProgress&) = delete;
  FolderInProgress& operator=(const FolderInProgress&) = delete;

  fs::path unfinished() const { return folder_ / "unfinished"; }
  // The index and the model's configuration come last: a reader never finds one whose weights are missing.
  void commit(const std::string& base_name) {
    std::vector<fs::path> files;
    std::set<std::string> names;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(unfinished())) {
      if (!entry.is_regular_file()) continue;
      files.push_back(entry.path().lexically_relative(unfinished()));
      names.insert(files.back().string());
    }
    std::ranges::stable_sort(files, {}, [](const fs::path& file) { return file.extension() == ".json"; });
    for (const fs::path& file : files) {
      create_folders((folder_ / file).parent_path());
      std::error_code error;
      fs::rename(unfinished() / file, folder_ / file, error);
      if (error)
        throw StorageError(str("[", (folder_ / file).string(), "] expected a free name, got: ", error.message()));
    }
    remove_stale_weights(folder_, base_name, names);
    is_complete_ = true;
    fsync_folder(folder_);
  }

 private:
  fs::path folder_;
  bool was_there_, is_complete_ = false;
};

void write_companions(const std::vector<Companion>& files, const fs::path& output) {
  for (const Companion& file : files) {
    const fs::path path = output / file.name;
    create_folders(path.parent_path());
    write_file_atomically(path, file.source.empty() ? file.text : read_file(file.source));
  }
}

}  // namespace

void follow_files(const fs::path& weights, ExportOptions& options) {
  std::error_code ignored;
  const bool decides = !options.layout.empty() || options.max_shard_bytes || options.gguf;
  if (decides || weights.empty() || !fs::exists(weights, ignored)) return;
  options.layout = shard_layout_of(weights);
  if (!options.layout.empty()) return;
  const std::vector<fs::path> files = WeightStore(weights).files();
  const bool is_one = files.size() == 1 && files.front().extension() == ".safetensors";
  if (is_one) options.max_shard_bytes = std::numeric_limits<uint64_t>::max();
}

void merge_into(AdapterMerger& merger, const ModelDescription& model, std::vector<AdapterTensors> adapters,
                double strength, const std::string& place) {
  const std::shared_ptr<torch::nn::Module> layout = model.build({.device = torch::kMeta});
  attach_adapters(model.adaptable_layers(*layout), adapters, place);  // which checks that they fit
  log_info(place, ": merges ", adapters.size(), " adapters");
  merger.add(std::move(adapters), strength);
}

namespace {

// An adapter of a weight that the files do not have would be lost.
void check_all_are_merged(const ModelWeights& weights, const AdapterMerger& merger) {
  const ShapeMap shapes = weights.model().shapes();
  for (const auto& [weight, in_file] : merger.weights()) {
    if (shapes.contains(weight)) continue;
    throw ModelError("[" + in_file + "] expected an adapter of a layer with weights of its own, got one of " + weight +
                     ", which are another layer's (tied): it cannot be merged into what both share (try the adapters "
                     "beside the weights, without merging)");
  }
}

}  // namespace

TensorSource merged_source(const ModelWeights& weights, const AdapterMerger& merger) {
  check_all_are_merged(weights, merger);
  return [&weights, &merger, previous = std::make_shared<std::string>()](const std::string& name) {
    if (!previous->empty()) weights.release(*previous);
    *previous = name;
    return merger.merged(name, weights.import(name));
  };
}

std::string export_tensors(const fs::path& output, Naming naming, const ExportedModel& exported,
                           const ExportOptions& options) {
  const WeightRules rules = exported.model.weight_rules(naming, {});
  std::optional<std::string> config_json =
      exported.config_json ? exported.config_json : exported.model.config_json(naming);
  std::map<std::string, const WeightRule*> rule_of;
  for (const WeightRule& rule : rules) rule_of[rule.theirs] = &rule;
  TensorMap theirs = export_weights(exported.shapes, rules);
  for (auto& [name, tensor] : theirs) tensor = convert(tensor, options);
  SaveWeightsOptions save = save_options(naming);
  save.max_shard_bytes = options.max_shard_bytes.value_or(kUsualShardBytes);
  save.source = [&](const std::string& name) {
    if (options.is_cancelled && options.is_cancelled()) {
      throw StorageError("[" + output.string() + "] expected to be written, got a run that stops");
    }
    const WeightRule& rule = *rule_of.at(name);
    const TensorMap one = export_weights({{rule.ours, exported.read(rule.ours)}}, {rule});
    return convert(one.at(name), options);
  };
  if (options.gguf) {
    return write_gguf_model(output, theirs, save.source,
                            {config_json.value_or("{}"), exported.tokenizer, *options.gguf});
  }
  if (ends_with(output.string(), ".safetensors")) {
    save_weights(output, theirs, save);
  } else {
    FolderInProgress folder(output);
    const bool keeps_files = !options.layout.empty() && std::ranges::all_of(theirs, [&](const auto& item) {
      return options.layout.contains(item.first);
    });
    if (keeps_files) {
      save_weights_in_shards(folder.unfinished(), theirs, options.layout, save);
    } else {
      save_weights(folder.unfinished(), theirs, save);
    }
    if (config_json && naming == Naming::kHuggingFace) config_json = with_dtype(*config_json, theirs);
    if (config_json) write_file_atomically(folder.unfinished() / "config.json", *config_json);
    write_companions(exported.companions, folder.unfinished());
    folder.commit(save.base_name);
  }
  return str(output.string(), ": ", theirs.size(), " tensors in ", naming_name(naming), " naming");
}

void write_companion_files(const RunConfig& config, const TensorMap& shapes, const fs::path& folder) {
  const std::unique_ptr<ModelDescription> model = describe_run_model(config, shapes);
  const std::optional<std::string> json = model->config_json(Naming::kHuggingFace);
  if (json) write_file_atomically(folder / "config.json", *json);
  write_companions(companions_of_task(config), folder);
}

Naming choose_naming(const std::string& text, const ModelEntry& entry, Naming preferred) {
  const auto is_known = [&](Naming naming) {
    return std::find(entry.namings.begin(), entry.namings.end(), naming) != entry.namings.end();
  };
  if (text.empty()) return is_known(preferred) ? preferred : entry.namings.front();
  const Naming naming = parse_naming(text);
  if (is_known(naming)) return naming;
  std::vector<std::string> names;
  for (const Naming each : entry.namings) names.emplace_back(naming_name(each));
  throw ConfigError("[--naming] expected " + join(names, " or ") + " for " + entry.name + ", got " + text);
}

namespace {

// The frozen model with the adapters of a run in it, and with those that were merged before training.
std::string export_merged(const RunConfig& config, const OpenRunWeights& run, const fs::path& output,
                          const ExportOptions& options) {
  const LoraConfig& lora = *lora_of_task(config);
  const fs::path base = config.checkpoint.initial_load_path;
  const fs::path sizes = sizes_of_task(config);  // weights that are one file have none beside them
  const ModelWeights weights(model_of_task(config), base, sizes.empty() ? std::nullopt : std::optional(sizes));
  const Naming naming = choose_naming(options.naming, model_of_task(config), weights.naming());
  AdapterMerger merger;
  const std::vector<double> multipliers = base_multipliers(lora);
  for (size_t i = 0; i < multipliers.size(); ++i) {
    const std::string& file = lora.base_weights[i];
    merge_into(merger, weights.model(), weights.model().read_adapters(file), multipliers[i], file);
  }
  TensorMap ours;
  for (const auto& [name, shape] : run.shapes) ours[name] = run.read(name);
  merge_into(merger, weights.model(), weights.model().adapters_of_run(configured_adapters(lora, ours)), 1,
             "the run's adapters");
  const TensorMap shapes = weights.import_shapes();
  const std::unique_ptr<ModelDescription> model = describe_run_model(config, shapes);
  ExportOptions own = options;
  if (naming == weights.naming()) follow_files(base, own);
  return export_tensors(output, naming,
                        {.model = *model,
                         .shapes = shapes,
                         .read = merged_source(weights, merger),
                         .tokenizer = tokenizer_of_task(config),
                         .companions = companions_of_task(config)},
                        own);
}

}  // namespace

std::string export_run(const fs::path& run_folder, const RunConfig& config, const fs::path& output,
                       const ExportOptions& options) {
  const auto open = [&] {
    OpenRunWeights run =
        options.checkpoint.empty()
            ? open_run_weights(run_folder, config, options.step, options.which)
            : open_run_weights(run_folder, config, LoadedCheckpoint(options.checkpoint), options.which);
    log_info(run_folder.string(), ": step ", run.step, run.averaged ? ", averaged weights" : "");
    return run;
  };
  if (options.merged && lora_of_task(config) == nullptr) {
    throw ConfigError("[export --merged] expected a run that trains adapters, got one that trains the whole model");
  }
  if (options.gguf && lora_of_task(config) != nullptr && !options.merged) {
    throw ConfigError(
        "[export] expected --merged with it: a GGUF file holds a whole model, and the run trains adapters");
  }
  if (options.merged) return export_merged(config, open(), output, options);
  if (lora_of_task(config) != nullptr) {
    const WriteAdapters adapters = adapter_writer_of_task(config);
    adapters.check(output, options.naming);
    return adapters.write(config, open(), output, options.naming, options.dtype);
  }
  const ModelEntry& entry = model_of_task(config);
  const Naming naming = choose_naming(options.naming, entry, entry.namings.front());
  const OpenRunWeights run = open();
  const std::unique_ptr<ModelDescription> model = describe_run_model(config, run.shapes);
  const auto read = [&](const std::string& name) { return run.read(name); };
  ExportOptions own = options;
  if (is_language_model(entry)) follow_files(config.checkpoint.initial_load_path, own);
  return export_tensors(output, naming,
                        {.model = *model,
                         .shapes = run.shapes,
                         .read = read,
                         .tokenizer = tokenizer_of_task(config),
                         .companions = companions_of_task(config)},
                        own);
}

}  // namespace millrace
