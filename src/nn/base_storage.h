// In what a frozen model's large matrices are stored.
#pragma once

#include <string_view>

namespace millrace {

enum class BaseStorage {
  kDense,        // as numbers of the compute dtype
  kFp8,          // float8_e4m3fn with a scale per output
  kFp8Unscaled,  // float8_e4m3fn without scales, and all other parameters rounded to it: sd-scripts' fp8_base
  kInt8,         // with a scale per output
  kNf4,          // 4 bits, bitsandbytes' table, double quantisation
  kNf4Torchao,   // 4 bits as torchtune's QLoRA has them
  kGguf,         // the blocks of a GGUF file, as they are
};

// "dense", "fp8", "fp8_unscaled", "int8", "nf4", "nf4_torchao", "gguf"
std::string_view base_storage_name(BaseStorage storage);
BaseStorage parse_base_storage(std::string_view text);  // throws ConfigError naming the nearest

// The largest magnitude that is stored as a number, by a storage that makes nan of larger ones rather than refusing
// them; of the others infinity.
double largest_magnitude(BaseStorage storage);

}  // namespace millrace
