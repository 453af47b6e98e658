// Names of FLUX's tensors: ours are Black Forest Labs'; diffusers' and torchtitan's follow by rule.
#pragma once

#include "models/flux/config.h"
#include "models/weights.h"

namespace millrace::flux {

// The naming that a file's tensor names follow; throws ModelError naming a few tensors when none matches.
Naming detect_naming(const ShapeMap& shapes, const std::string& place);

WeightRules weight_rules(const FluxConfig& config, Naming naming);

}  // namespace millrace::flux
