#include "adapters/peft_writer.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/files.h"
#include "base/text.h"

namespace millrace {
namespace {

std::string last_part(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
}

// What PEFT 0.21 writes besides, at the values that mean a plain adapter. Since 0.14 PEFT ignores what it does not
// know.
nlohmann::ordered_json unused_fields(AdapterKind kind) {
  nlohmann::ordered_json fields;
  const auto set_null = [&](const std::vector<const char*>& names) {
    for (const char* name : names) fields[name] = nullptr;
  };
  fields["peft_version"] = "0.21.2";  // whose fields these are
  set_null({"auto_mapping", "exclude_modules", "layers_pattern", "layers_to_transform", "modules_to_save", "revision"});
  if (kind == AdapterKind::kLora || kind == AdapterKind::kDora) {
    fields.update({{"bias", "none"},
                   {"ensure_weight_tying", false},
                   {"fan_in_fan_out", false},
                   {"init_lora_weights", true},
                   {"loftq_config", nlohmann::ordered_json::object()},
                   {"lora_bias", false},
                   {"megatron_core", "megatron.core"},
                   {"qalora_group_size", 16},
                   {"use_qalora", false}});
    set_null({"alora_invocation_tokens", "arrow_config", "corda_config", "eva_config", "kasa_config",
              "layer_replication", "lora_ga_config", "megatron_config", "monteclora_config", "target_parameters",
              "trainable_token_indices", "use_bdlora", "velora_config"});
    return fields;
  }
  fields.update(
      {{"init_weights", true}, {"module_dropout", 0.0}, {"rank_dropout", 0.0}, {"use_effective_conv2d", false}});
  if (kind == AdapterKind::kLokr) fields["rank_dropout_scale"] = false;
  return fields;
}

}  // namespace

std::vector<std::string> peft_target_modules(const std::vector<std::string>& adapted,
                                             const std::vector<std::string>& layers) {
  std::map<std::string, size_t> of_all, of_adapted;
  for (const std::string& name : layers) ++of_all[last_part(name)];
  for (const std::string& name : adapted) ++of_adapted[last_part(name)];
  std::set<std::string> targets;
  for (const std::string& name : adapted) {
    const std::string end = last_part(name);
    targets.insert(of_adapted[end] == of_all[end] ? end : name);
  }
  return {targets.begin(), targets.end()};
}

std::string peft_name(const std::string& ours, AdapterKind kind) {
  static const std::map<std::string, std::string> kRoles = {
      {"down", "lora_A.weight"}, {"up", "lora_B.weight"}, {"magnitude", "lora_magnitude_vector"}};
  const std::string layer = "base_model.model." + ours.substr(0, ours.rfind('.')) + ".", role = last_part(ours);
  if (kind == AdapterKind::kLoha) return layer + "hada_" + role;
  if (kind == AdapterKind::kLokr) return layer + "lokr_" + role;
  return layer + kRoles.at(role);
}

std::string peft_config_json(const std::vector<std::string>& adapted, const PeftFacts& facts) {
  using Json = nlohmann::ordered_json;
  const bool is_lora = facts.kind == AdapterKind::kLora || facts.kind == AdapterKind::kDora;
  const bool is_lokr = facts.kind == AdapterKind::kLokr;
  const bool is_whole = std::floor(facts.alpha) == facts.alpha && std::abs(facts.alpha) < 1e15;
  const Json alpha = is_whole ? Json(static_cast<int64_t>(facts.alpha)) : Json(facts.alpha);
  Json json = {{"peft_type", is_lora   ? "LORA"
                             : is_lokr ? "LOKR"
                                       : "LOHA"},
               {"task_type", "CAUSAL_LM"},
               {"base_model_name_or_path", facts.base_model},
               {"inference_mode", true},
               {"r", facts.rank}};
  if (is_lora) {
    json.update({{"lora_alpha", alpha},
                 {"lora_dropout", facts.dropout},
                 {"use_rslora", facts.rank_stabilised},
                 {"use_dora", facts.kind == AdapterKind::kDora}});
  } else {
    json["alpha"] = alpha;
  }
  if (is_lokr) {
    json["decompose_both"] = facts.lokr_decompose_both;
    json["decompose_factor"] = facts.lokr_factor.value_or(-1);
  }
  json.update(unused_fields(facts.kind));
  json.update({{"rank_pattern", Json::object()},
               {"alpha_pattern", Json::object()},
               {"target_modules", peft_target_modules(adapted, facts.layers)}});
  for (const std::string& layer : adapted) {
    if (const auto own = facts.own_ranks.find(layer); own != facts.own_ranks.end()) {
      json["rank_pattern"][layer] = own->second;
      if (facts.alpha_is_rank) json["alpha_pattern"][layer] = own->second;
    }
    if (const auto own = facts.own_alphas.find(layer); own != facts.own_alphas.end()) {
      json["alpha_pattern"][layer] = own->second;
    }
  }
  return json.dump(2) + "\n";
}

void write_peft_folder(const std::filesystem::path& folder, const TensorMap& ours, const PeftFacts& known) {
  create_folders(folder);
  PeftFacts facts = known;
  TensorMap theirs;
  std::set<std::string> adapted;
  for (const auto& [name, tensor] : ours) {
    theirs[peft_name(name, facts.kind)] = tensor;
    const std::string layer = name.substr(0, name.rfind('.'));
    adapted.insert(layer);
    const bool has_rank = ends_with(name, ".down") || (facts.kind == AdapterKind::kLoha && ends_with(name, ".w1_b"));
    if (has_rank && tensor.size(0) != facts.rank) facts.own_ranks[layer] = tensor.size(0);
  }
  save_tensors(folder / "adapter_model.safetensors", theirs, {{"format", "pt"}});
  write_file_atomically(folder / "adapter_config.json", peft_config_json({adapted.begin(), adapted.end()}, facts));
}

}  // namespace millrace
