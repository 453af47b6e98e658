// Which of a LoRA's parameters share a learning rate, as sd-scripts groups them (LoRA+, patterns with rates of their
// own, a rate per text encoder). No torch.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/flux/lora_layout.h"

namespace millrace::flux {

struct LoraLearningRates {
  double learning_rate = 0;
  std::optional<double> unet_lr;        // none: learning_rate
  std::vector<double> text_encoder_lr;  // CLIP's and T5's; one number: of both; none: learning_rate
};

struct LoraGroup {
  double lr = 0;
  std::string description;  // "unet plus"; what sd-scripts logs it as, blanks included
  std::vector<std::string> parameters;
};

// In sd-scripts' order. Parameters whose rate is zero are in no group: they keep their values.
std::vector<LoraGroup> lora_groups(const std::vector<LoraModule>& modules, const LoraNetwork& network,
                                   const LoraLearningRates& rates);

}  // namespace millrace::flux
