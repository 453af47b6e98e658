#include "models/flux/lora_groups.h"

#include "base/log.h"
#include "base/regular_expression.h"

namespace millrace::flux {
namespace {

// The parameters at one rate: down and up together, or up apart at its own.
struct Rate {
  double lr = 0;
  std::string description;
  std::vector<std::string> plain, plus;
};

void add_group(std::vector<LoraGroup>& groups, double lr, const std::string& description,
               const std::vector<std::string>& parameters) {
  if (!parameters.empty() && lr != 0) groups.push_back({lr, description, parameters});
}

// The groups of one model: patterns first, in the order in which modules met them.
void add_groups(std::vector<LoraGroup>& groups, const std::vector<LoraModule>& modules, LoraPart part,
                const std::string& description, double lr, std::optional<double> plus_ratio,
                const std::vector<std::pair<std::string, double>>& reg_lrs) {
  std::vector<std::pair<size_t, Rate>> matched;
  Rate rest{lr, description, {}, {}};
  for (const LoraModule& module : modules) {
    if (module.part != part) continue;
    Rate* rate = &rest;
    for (size_t i = 0; i < reg_lrs.size(); ++i) {
      if (!RegularExpression(reg_lrs[i].first).found_in(module.name)) continue;
      auto known = matched.begin();
      while (known != matched.end() && known->first != i) ++known;
      if (known == matched.end()) {
        matched.push_back({i, {reg_lrs[i].second, str(description, " reg_lr_", i), {}, {}}});
        known = matched.end() - 1;
      }
      rate = &known->second;
      break;
    }
    for (const std::string& name : module.parameter_names()) {
      const bool is_up = name.find(".lora_up.") != std::string::npos;
      (plus_ratio && is_up ? rate->plus : rate->plain).push_back(name);
    }
  }
  const auto add = [&](const Rate& rate) {
    add_group(groups, rate.lr, rate.description, rate.plain);
    add_group(groups, rate.lr * plus_ratio.value_or(1), rate.description + " plus", rate.plus);
  };
  for (const auto& [index, rate] : matched) add(rate);
  add(rest);
}

// The specific ratio, else the general one; 0 is as if none were given.
std::optional<double> plus_ratio(const std::optional<double>& specific, const std::optional<double>& general) {
  return specific.value_or(0) != 0 ? specific : general;
}

}  // namespace

std::vector<LoraGroup> lora_groups(const std::vector<LoraModule>& modules, const LoraNetwork& network,
                                   const LoraLearningRates& rates) {
  const auto text_encoder_lr = [&](size_t index) {
    if (rates.text_encoder_lr.empty()) return rates.learning_rate;
    return rates.text_encoder_lr.size() == 1 ? rates.text_encoder_lr[0] : rates.text_encoder_lr[index];
  };
  const std::optional<double> text_ratio =
      plus_ratio(network.loraplus_text_encoder_lr_ratio, network.loraplus_lr_ratio);
  std::vector<LoraGroup> groups;
  add_groups(groups, modules, LoraPart::kClip, "textencoder 1 ", text_encoder_lr(0), text_ratio, network.reg_lrs);
  add_groups(groups, modules, LoraPart::kT5, "textencoder 2 ", text_encoder_lr(1), text_ratio, network.reg_lrs);
  add_groups(groups, modules, LoraPart::kTransformer, "unet", rates.unet_lr.value_or(rates.learning_rate),
             plus_ratio(network.loraplus_unet_lr_ratio, network.loraplus_lr_ratio), network.reg_lrs);
  return groups;
}

}  // namespace millrace::flux
