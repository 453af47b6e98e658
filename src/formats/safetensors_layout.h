// How the official library, and write_safetensors(), lay out a file: for those who need a file's bytes without a file.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/safetensors.h"

namespace millrace {

// By dtype, the library's enumerators from last to first (wide elements before narrow ones), then by name.
bool comes_before(DType dtype_a, std::string_view name_a, DType dtype_b, std::string_view name_b);

struct SafetensorsLayout {
  std::vector<size_t> order;  // of the tensors given
  // JSON, padded with blanks to a multiple of 8; a file has its length, 8 bytes little-endian, in front.
  std::string header;
};
// tensors' bytes are not looked at. Throws StorageError naming place for texts that are not UTF-8, and for a header
// above the format's limit.
SafetensorsLayout lay_out_safetensors(std::span<const TensorView> tensors, const SafetensorsMetadata& metadata,
                                      std::string_view place);

}  // namespace millrace
