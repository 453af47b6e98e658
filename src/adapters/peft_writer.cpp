#include "adapters/peft_writer.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"

namespace millrace {
namespace {

std::string last_part(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
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

std::string peft_name(const std::string& ours) {
  static const std::map<std::string, std::string> kRoles = {
      {"down", "lora_A.weight"}, {"up", "lora_B.weight"}, {"magnitude", "lora_magnitude_vector"}};
  const auto role = kRoles.find(last_part(ours));
  MILLRACE_CHECK(role != kRoles.end());
  return "base_model.model." + ours.substr(0, ours.rfind('.')) + "." + role->second;
}

std::string peft_config_json(const std::vector<std::string>& adapted, const PeftFacts& facts) {
  nlohmann::ordered_json json = {{"peft_type", "LORA"},
                                 {"task_type", "CAUSAL_LM"},
                                 {"base_model_name_or_path", facts.base_model},
                                 {"inference_mode", true},
                                 {"r", facts.rank},
                                 {"lora_alpha", facts.alpha},
                                 {"lora_dropout", facts.dropout},
                                 {"use_rslora", facts.rank_stabilised},
                                 {"use_dora", facts.is_dora},
                                 {"bias", "none"},
                                 {"fan_in_fan_out", false},
                                 {"init_lora_weights", true},
                                 {"modules_to_save", nullptr},
                                 {"rank_pattern", nlohmann::ordered_json::object()},
                                 {"alpha_pattern", nlohmann::ordered_json::object()},
                                 {"target_modules", peft_target_modules(adapted, facts.layers)}};
  for (const auto& [layer, rank] : facts.own_ranks) {
    json["rank_pattern"][layer] = rank;
    if (facts.alpha_is_rank) json["alpha_pattern"][layer] = rank;
  }
  const bool is_whole = std::floor(facts.alpha) == facts.alpha && std::abs(facts.alpha) < 1e15;
  if (is_whole) json["lora_alpha"] = static_cast<int64_t>(facts.alpha);
  return json.dump(2) + "\n";
}

void write_peft_folder(const std::filesystem::path& folder, const TensorMap& ours, const PeftFacts& known) {
  create_folders(folder);
  PeftFacts facts = known;
  TensorMap theirs;
  std::vector<std::string> adapted;
  for (const auto& [name, tensor] : ours) {
    theirs[peft_name(name)] = tensor;
    if (!ends_with(name, ".down")) continue;
    adapted.push_back(name.substr(0, name.rfind('.')));
    if (tensor.size(0) != facts.rank) facts.own_ranks[adapted.back()] = tensor.size(0);
  }
  save_tensors(folder / "adapter_model.safetensors", theirs, {{"format", "pt"}});
  write_file_atomically(folder / "adapter_config.json", peft_config_json(adapted, facts));
}

}  // namespace millrace
