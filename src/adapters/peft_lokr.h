// LoKr in PEFT's words. Its adapter_config.json does not say the sizes of the matrices: PEFT finds them by one factor
// for the whole file, a rank for each layer and decompose_both (facts of peft 0.21).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "adapters/adapter_file.h"

namespace millrace {

struct PeftLokr {
  int64_t decompose_factor = -1;
  bool decompose_both = false;
  std::map<std::string, int64_t> ranks;  // r of each layer; scale = alpha / r whatever its matrices are
};

// Settings from which PEFT makes modules of these sizes; none where no factor divides all layers as they are divided.
// Thin matrices where PEFT makes a whole one are multiplied out.
std::optional<PeftLokr> fit_peft_lokr(std::map<std::string, AdapterTensors>& layers);

}  // namespace millrace
