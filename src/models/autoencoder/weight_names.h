// Names of the autoencoder's tensors: ours are Black Forest Labs'; diffusers' follow by rule.
#pragma once

#include <string>

#include "models/autoencoder/config.h"
#include "models/weights.h"

namespace millrace::autoencoder {

// kBfl or kDiffusers; throws ModelError when the names are neither's.
Naming detect_naming(const ShapeMap& theirs, const std::string& place);

// kTorchtitan is the same as kBfl.
WeightRules weight_rules(const AutoencoderConfig& config, Naming naming);

}  // namespace millrace::autoencoder
