#include "tasks/llama_finetune/llama_adapters.h"

#include <cmath>
#include <map>

#include "adapters/layer_patterns.h"
#include "adapters/lora_initialize.h"
#include "adapters/peft_file.h"
#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

std::vector<std::string> patterns_of(const std::vector<std::string>& targets) {
  std::vector<std::string> patterns;
  for (const std::string& target : targets) {
    if (target == "all") {
      patterns.emplace_back("model.layers.*");
    } else if (target == "attention") {
      patterns.emplace_back("model.layers.*.self_attn.*");
    } else if (target == "lm_head") {
      patterns.push_back(target);
    } else {
      const bool is_word = target.find_first_of(".*?[") == std::string::npos;
      patterns.push_back(is_word ? "model.layers.*." + target : target);
    }
  }
  return patterns;
}

}  // namespace

std::vector<std::string> adapted_llama_layers(const llama::Llama& model, const std::vector<std::string>& targets) {
  // By layer and in a layer as in the model; linear_layers() is sorted by text.
  std::vector<std::string> names;
  const auto layers = model.linear_layers();
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    if (layers.contains(item.key())) names.push_back(item.key());
  }
  if (layers.contains("lm_head") && (names.empty() || names.back() != "lm_head"))
    names.emplace_back("lm_head");  // tied
  return matching_layers(names, patterns_of(targets), "lora.targets");
}

FlatParametersOptions frozen_placement(const LoraConfig& /*config*/, FlatParametersOptions placement) {
  placement.training = false;
  return placement;
}

LlamaAdapters::LlamaAdapters(const LoraConfig& config, std::shared_ptr<llama::Llama> model,
                             const FlatParametersOptions& placement)
    : config_(config), model_(std::move(model)) {
  const auto layers = model_->linear_layers();
  UnitSpec unit{"adapters", {}};
  for (const std::string& name : adapted_llama_layers(*model_, config.targets)) {
    Linear& layer = *layers.at(name);
    const auto lora = std::make_shared<Lora>(layer.in_features(), layer.out_features(), config.rank, config.scale());
    layer.set_adapter(lora);
    unit.parameters.emplace_back(name + ".down", lora->down_RK);
    unit.parameters.emplace_back(name + ".up", lora->up_NR);
    adapters_.push_back(lora);
  }
  parameters_ = std::make_unique<FlatParameters>(std::vector<UnitSpec>{unit}, placement);
}

TokenLoss LlamaAdapters::train(const llama::PackedTokens& tokens, const torch::Tensor& labels_T, Keep keep,
                               double scale) {
  llama::Llama::Saved saved;
  {
    const UnitUse use = parameters_->forward_unit(0, /*keep=*/true);
    model_->forward_hidden(tokens, &saved, keep);
  }
  const UnitUse use = parameters_->backward_unit(0);
  return model_->backward_loss(saved, labels_T, scale);
}

TokenLoss LlamaAdapters::loss(const llama::PackedTokens& tokens, const torch::Tensor& labels_T) {
  const UnitUse use = parameters_->forward_unit(0, /*keep=*/false);
  return model_->loss(model_->forward_hidden(tokens), labels_T);
}

std::vector<int64_t> LlamaAdapters::generate(const std::vector<int64_t>& prompt,
                                             const llama::GenerateOptions& options) {
  const UnitUse use = parameters_->forward_unit(0, /*keep=*/false);
  return llama::generate(*model_, prompt, options);
}

void LlamaAdapters::initialize(uint64_t seed) {
  const torch::NoGradGuard no_grad;
  if (!config_.initial_adapter.empty()) return read_initial_adapter();
  for (const ParameterSlice& slice : parameters_->slices()) {
    if (!parameters_->owns(slice)) continue;
    parameters_->assign(slice, initial_lora_matrix(slice.name, slice.shape, seed, parameters_->compute().device()));
  }
  parameters_->refresh_compute();
}

void LlamaAdapters::read_initial_adapter() {
  std::map<std::string, torch::Tensor> values;
  for (const AdapterTensors& adapter : read_peft_file(config_.initial_adapter)) {
    const bool fits = adapter.kind == AdapterKind::kLora && std::abs(adapter.scale - config_.scale()) < 1e-12;
    if (!fits) {
      throw ModelError(str("[", config_.initial_adapter, ": ", adapter.module, "] expected LoRA of the scale ",
                           config_.scale(), " (lora.alpha / lora.rank), got ", adapter.scale));
    }
    for (const auto& [role, tensor] : adapter.tensors) values[adapter.module + "." + role] = tensor.values;
  }
  for (const ParameterSlice& slice : parameters_->slices()) {
    const auto found = values.find(slice.name);
    if (found == values.end() || found->second.sizes().vec() != slice.shape) {
      throw ModelError(str("[", config_.initial_adapter, "] expected a matrix of ", slice.name, " of the rank ",
                           config_.rank, ", got ", found == values.end() ? "none" : "another shape"));
    }
    if (parameters_->owns(slice)) parameters_->assign(slice, found->second);
  }
  const bool has_more = values.size() != parameters_->slices().size();
  if (has_more) {
    throw ModelError(str("[", config_.initial_adapter, "] expected adapters of ", adapters_.size(),
                         " layers, as lora.targets says, got ", values.size() / 2));
  }
  parameters_->refresh_compute();
}

}  // namespace millrace
