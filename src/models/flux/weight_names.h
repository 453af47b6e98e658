// FLUX tensor names: ours are Black Forest's; diffusers and torchtitan by rule.
#pragma once

#include "models/flux/config.h"
#include "models/weights.h"

namespace millrace::flux {

// Which naming a file uses, from its tensor names; throws ModelError naming a few tensors when none fits.
Naming detect_naming(const ShapeMap& shapes, const std::string& place);

WeightRules weight_rules(const FluxConfig& config, Naming naming);

}  // namespace millrace::flux
