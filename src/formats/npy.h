// NumPy's .npy: one array per file. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
//
// Versions 1 to 3, little-endian, row-major. NumPy has no bfloat16: written as uint16 (its bits), and read as such;
// ml_dtypes' two-byte void ("<V2") is read as BF16.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "formats/dtype.h"

namespace millrace {

struct NpyArray {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

inline constexpr size_t kMaxNpyHeaderBytes = 1 << 16;

// Parses a whole file in memory; the array points into bytes. Throws DataError naming place.
NpyArray parse_npy(std::span<const std::byte> bytes, std::string_view place);

// A memory-mapped .npy file. Throws StorageError when it cannot be read, DataError when it is not valid.
class NpyFile {
 public:
  explicit NpyFile(const std::filesystem::path& path) : map_(path), array_(parse_npy(map_.bytes(), path.string())) {}
  const NpyArray& array() const { return array_; }

 private:
  MappedFile map_;
  NpyArray array_;
};

// Everything before the data in such a file, as numpy.save writes it: version 1 (2 if necessary).
std::string npy_header(DType dtype, std::span<const int64_t> shape);

// Writes version 1 (2 if the header needs it) atomically, byte for byte as numpy.save does. bytes: row-major, of the
// shape's size. F8_E4M3 and F8_E5M2 are written as uint8, BF16 as uint16.
void write_npy(const std::filesystem::path& path, DType dtype, std::span<const int64_t> shape,
               std::span<const std::byte> bytes);

}  // namespace millrace
