// NumPy's .npz: named arrays in one file, a ZIP archive of .npy files.
// https://numpy.org/doc/stable/reference/generated/numpy.savez.html, ZIP: PKWARE's APPNOTE 6.3
//
// Stored archives alone, as numpy.savez writes them; what numpy.savez_compressed deflates is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/files.h"
#include "formats/npy.h"

namespace millrace {

// The arrays of a file by the names given to numpy.savez, without ".npy"; they point into bytes. place: for messages.
// Throws DataError as NpzFile does.
std::map<std::string, NpyArray> parse_npz(std::span<const std::byte> bytes, const std::string& place);

// A memory-mapped .npz file. Throws StorageError when it cannot be read, DataError when it is not valid: every array's
// checksum is compared.
class NpzFile {
 public:
  explicit NpzFile(const std::filesystem::path& path);

  const std::map<std::string, NpyArray>& arrays() const { return arrays_; }
  // Null: there is none.
  const NpyArray* find(const std::string& name) const;

 private:
  MappedFile map_;
  std::map<std::string, NpyArray> arrays_;
};

struct NpzArray {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // row-major, of the shape's size
};

// Atomic, and byte for byte as numpy.savez(path, **arrays) writes the same arrays in that order.
void write_npz(const std::filesystem::path& path, const std::vector<NpzArray>& arrays);

}  // namespace millrace
