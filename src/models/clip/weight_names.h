// Names of CLIP's text tensors. Ours are Hugging Face's names as in its published files
// ("text_model.encoder.layers.0.self_attn.q_proj.weight"); recent versions of transformers write a CLIPTextModel
// without the "text_model." in front.
#pragma once

#include "models/clip/config.h"
#include "models/weights.h"

namespace millrace::clip {

// "text_model.", or "" for a file whose names lack it.
std::string prefix_in(const ShapeMap& theirs);

// theirs: the tensors of a file to be read; empty when writing (the published names).
WeightRules weight_rules(const ClipConfig& config, const ShapeMap& theirs = {});

// The image half of a CLIPModel, its projections, and the buffer of positions that old versions saved.
const IgnorableNames& ignorable_names();

}  // namespace millrace::clip
