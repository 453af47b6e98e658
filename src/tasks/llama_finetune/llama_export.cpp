#include "tasks/llama_finetune/llama_export.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/json.h"
#include "formats/weight_store.h"
#include "language/model_tokenizer.h"
#include "models/config_reader.h"
#include "tasks/llama_finetune/llama_texts.h"
#include "tasks/llama_finetune/llama_trainee.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

class RunDescription : public ModelDescription {
 public:
  RunDescription(const nlohmann::json& sizes, std::string config_json)
      : model_(find_model("llama").from_json(sizes, "the run's model")), config_json_(std::move(config_json)) {}

  std::shared_ptr<torch::nn::Module> build(const FlatParametersOptions& placement) const override {
    return model_->build(placement);
  }
  WeightRules weight_rules(Naming naming, const ShapeMap& theirs) const override {
    return model_->weight_rules(naming, theirs);
  }
  std::vector<ForwardPass> passes() const override { return model_->passes(); }
  std::optional<std::string> config_json(Naming) const override { return config_json_; }

 private:
  std::unique_ptr<ModelDescription> model_;
  std::string config_json_;
};

// As it was written, in its order; the dtype is what the weights beside it have.
std::string config_text(const LlamaRunConfig& config, const llama::LlamaConfig& sizes) {
  const fs::path& path = config.model.config;
  nlohmann::ordered_json json = path.extension() == ".json" && fs::is_regular_file(path)
                                    ? parse_ordered_json<ModelError>(read_file(path, kMaxConfigBytes), path.string())
                                    : llama::to_hugging_face_json(sizes);
  json.erase("torch_dtype");
  json.erase("dtype");
  return json.dump(2) + "\n";
}

void check_peft_output(const fs::path& output, const std::string& naming) {
  if (!naming.empty() && naming != "peft") {
    throw ConfigError("[--naming] expected peft for the adapters of a language model, got " + naming);
  }
  if (!ends_with(output.string(), ".safetensors")) return;
  throw ConfigError("[" + output.string() + "] expected a folder for PEFT's two files, got the name of a file");
}

std::string write_peft_adapters(const RunConfig& run_config, const OpenRunWeights& run, const fs::path& output,
                                const std::string& /*naming*/, const std::optional<torch::ScalarType>& dtype) {
  const LlamaRunConfig& config = as_llama(run_config);
  TensorMap ours;
  for (const auto& [name, shape] : run.shapes) {
    const torch::Tensor values = run.read(name);
    ours[name] = dtype ? values.to(*dtype) : values;
  }
  write_peft_folder(output, ours, peft_facts(config, llama_sizes(config)));
  return str(output.string(), ": ", ours.size(), " tensors of a LoRA in PEFT naming");
}

}  // namespace

std::unique_ptr<ModelDescription> describe_llama_model(const RunConfig& run_config, const TensorMap&) {
  const LlamaRunConfig& config = as_llama(run_config);
  const llama::LlamaConfig sizes = llama_sizes(config);
  return std::make_unique<RunDescription>(llama::to_hugging_face_json(sizes), config_text(config, sizes));
}

fs::path llama_tokenizer(const RunConfig& run_config) {
  return as_llama(run_config).tokenizer_path();
}

std::vector<Companion> llama_companions(const RunConfig& run_config) {
  const fs::path tokenizer = llama_tokenizer(run_config);
  if (const std::optional<GgufTokenizer> carried = carried_tokenizer(tokenizer)) {
    return {{"tokenizer.json", "", carried->tokenizer.dump()},
            {"tokenizer_config.json", "", carried->config.dump(2) + "\n"}};
  }
  const fs::path folder = fs::is_directory(tokenizer) ? tokenizer : tokenizer.parent_path();
  constexpr std::array kNames = {"tokenizer.json",
                                 "tokenizer.model",
                                 "tokenizer_config.json",
                                 "vocab.json",
                                 "merges.txt",
                                 "added_tokens.json",
                                 "chat_template.jinja",
                                 "special_tokens_map.json",
                                 "generation_config.json"};
  std::vector<Companion> files;
  for (const char* name : kNames) {
    if (fs::is_regular_file(folder / name)) files.push_back({name, folder / name, ""});
  }
  return files;
}

std::optional<ExportOptions> llama_final_export(const RunConfig& run_config) {
  const LlamaRunConfig& config = as_llama(run_config);
  if (config.lora() != nullptr || !config.finetune.save_model || !config.checkpoint.enable) return std::nullopt;
  ExportOptions options;
  const std::string& weights = config.checkpoint.initial_load_path;
  if (weights.empty()) return options;
  const WeightStore store(weights);
  if (!store.tensors().empty() && store.tensors().front().dtype == DType::kBF16) options.dtype = torch::kBFloat16;
  if (!store.tensors().empty() && store.tensors().front().dtype == DType::kF16) options.dtype = torch::kFloat16;
  return options;
}

WriteAdapters llama_adapter_writer() {
  return {check_peft_output, write_peft_adapters};
}

}  // namespace millrace
