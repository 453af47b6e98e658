// The metadata of LoRA files that sd-scripts writes: ss_* about the training, modelspec.* about the model
// (https://github.com/Stability-AI/ModelSpec). No torch.
//
// Every value is a text, as Python's str() makes it: None, True, 1.0, 1e-05.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "formats/safetensors.h"

namespace millrace {

// None, a bool, an int, a float, a list of floats, or a text (JSON texts too).
using PythonValue = std::variant<std::monostate, bool, int64_t, double, std::vector<double>, std::string>;
std::string python_str(const PythonValue& value);

// Names without "ss_": "network_dim".
using TrainingFacts = std::map<std::string, PythonValue, std::less<>>;
// Those that every training of FLUX has, whatever its data set.
const std::vector<std::string>& required_training_facts();
// All facts as metadata; minimal (--no_metadata) keeps the few by which programs recognise the file. Every required
// fact must be there, of which callers take care.
SafetensorsMetadata training_metadata(const TrainingFacts& facts, bool minimal = false);

struct ModelSpec {
  double time = 0;  // seconds since 1970; the date is written in local time
  bool schnell = false;
  std::string title;  // "": "LoRA@<time>"
  int64_t width = 1024, height = 1024;
  std::string implementation_version;
  std::optional<int64_t> clip_skip, min_timestep, max_timestep;
  // metadata_author, metadata_tags, ..., by the key they have in modelspec: "author", "tags", "trigger_phrase"
  std::map<std::string, std::string> more;
};
SafetensorsMetadata model_spec_metadata(const ModelSpec& spec);

}  // namespace millrace
