// The JSON header of a safetensors file as a state machine over parser events (internal to formats/).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/safetensors.h"

namespace millrace {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // bytes from the end of the header
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the header's order
  SafetensorsMetadata metadata;
};

// Checks syntax, types and repetition; checking the offsets is up to the caller. Throws ModelError.
SafetensorsHeader parse_safetensors_header(std::string_view json, std::string_view place);

}  // namespace millrace
