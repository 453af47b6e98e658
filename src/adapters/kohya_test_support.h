// What sd-scripts was run to give for the metadata of LoRA files (tests/golden/flux_lora/metadata), for tests.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/files.h"
#include "formats/json.h"
#include "formats/safetensors.h"

namespace millrace {

inline nlohmann::ordered_json golden(const std::string& file) {
  return parse_ordered_json<DataError>(read_file(MILLRACE_GOLDEN "/flux_lora/metadata/" + file), file);
}

inline SafetensorsMetadata texts(const nlohmann::ordered_json& object) {
  SafetensorsMetadata result;
  for (const auto& [key, value] : object.items()) result[key] = value.get<std::string>();
  return result;
}

}  // namespace millrace
