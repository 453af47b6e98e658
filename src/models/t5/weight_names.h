// Names of T5's tensors. Ours are Hugging Face's names.
#pragma once

#include <string>

#include "models/t5/config.h"
#include "models/weights.h"

namespace millrace::t5 {

// "shared.weight", or its alias "encoder.embed_tokens.weight" in a file that has only the alias.
std::string embedding_name_in(const ShapeMap& theirs);

// theirs: the tensors of a file to be read; empty when writing.
WeightRules weight_rules(const T5Config& config, const ShapeMap& theirs = {});

// The decoder half of a whole T5, and aliases of the embedding.
const IgnorableNames& ignorable_names();

}  // namespace millrace::t5
