#include "tasks/export_run.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "tasks/task_table.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

torch::Tensor convert(const torch::Tensor& tensor, const ExportOptions& options) {
  return options.dtype ? tensor.to(*options.dtype) : tensor;
}

}  // namespace

std::string export_tensors(const fs::path& output, Naming naming, const TensorMap& shapes, const WeightRules& rules,
                           const TensorSource& read, const std::optional<std::string>& config_json,
                           const ExportOptions& options) {
  std::map<std::string, const WeightRule*> rule_of;
  for (const WeightRule& rule : rules) rule_of[rule.theirs] = &rule;
  TensorMap theirs = export_weights(shapes, rules);
  for (auto& [name, tensor] : theirs) tensor = convert(tensor, options);
  SaveWeightsOptions save = save_options(naming);
  save.max_shard_bytes = options.max_shard_bytes;
  save.source = [&](const std::string& name) {
    const WeightRule& rule = *rule_of.at(name);
    const TensorMap one = export_weights({{rule.ours, read(rule.ours)}}, {rule});
    return convert(one.at(name), options);
  };
  save_weights(output, theirs, save);
  const bool is_folder = !ends_with(output.string(), ".safetensors");
  if (is_folder && config_json) write_file_atomically(output / "config.json", *config_json);
  return str(output.string(), ": ", theirs.size(), " tensors in ", naming_name(naming), " naming");
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

std::string export_run(const fs::path& run_folder, const RunConfig& config, const fs::path& output,
                       const ExportOptions& options) {
  const auto open = [&] {
    OpenRunWeights run = open_run_weights(run_folder, config, options.step, options.which);
    log_info(run_folder.string(), ": step ", run.step, run.averaged ? ", averaged weights" : "");
    return run;
  };
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
  const std::string line = export_tensors(output, naming, run.shapes, model->weight_rules(naming, {}), read,
                                          model->config_json(naming), options);
  if (!ends_with(output.string(), ".safetensors")) {
    for (const fs::path& file : companions_of_task(config)) {
      fs::copy_file(file, output / file.filename(), fs::copy_options::overwrite_existing);
    }
  }
  return line;
}

}  // namespace millrace
