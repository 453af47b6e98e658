// safetensors: 8 bytes of header length (little-endian), a JSON header, then the tensors' bytes.
// https://github.com/huggingface/safetensors#format
//
// Reading accepts exactly what the official library accepts, except that names may not repeat and a tensor has at most
// 64 dimensions. The header is parsed in one pass without building a document. The dtypes are those of DType.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/block_format.h"
#include "base/files.h"
#include "formats/dtype.h"

namespace millrace {

// A tensor in memory owned elsewhere, row-major. Written files are little-endian, as is every machine we build for.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;        // empty: a scalar
  std::span<const std::byte> bytes;  // may be unaligned
  // Only in GGUF files: blocks that hold values of dtype, which is then fp32.
  BlockFormat block_format = BlockFormat::kNone;
  // Only in GGUF files: the rows of each of so many heads alternate between the head's first and second half; 0: rows
  // are in order.
  int64_t interleaved_heads = 0;
};

// Bytes of a tensor as stored, in blocks or not; nullopt when byte_count() gives nullopt. Blocks
// divide the last dimension.
std::optional<uint64_t> stored_byte_count(const TensorView& tensor);
std::string_view stored_type_name(const TensorView& tensor);  // "F32", "Q4_1"

// Bytes of a tensor; nullopt when a size is negative or the sizes (zero taken as one, so that no stride overflows
// either) multiply to 2^63 bytes or more.
std::optional<uint64_t> byte_count(DType dtype, std::span<const int64_t> shape);
int64_t element_count(std::span<const int64_t> shape);
std::string shape_text(std::span<const int64_t> shape);                // "[2, 3]"
std::string tensor_text(DType dtype, std::span<const int64_t> shape);  // "F32 [2, 3]"

using SafetensorsMetadata = std::map<std::string, std::string>;

struct SafetensorsContent {
  std::vector<TensorView> tensors;  // in file order
  SafetensorsMetadata metadata;
};

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // the official library's limit
inline constexpr size_t kMaxTensorRank = 64;

// Parses a whole file in memory; the views point into bytes. Memory used is at most a small multiple of the header.
// place names the file in the ModelError thrown for anything malformed.
SafetensorsContent parse_safetensors(std::span<const std::byte> bytes, std::string_view place);

// A memory-mapped file, fully validated on opening; no tensor byte is read before it is accessed.
class SafetensorsFile {
 public:
  // Throws StorageError when path cannot be read, ModelError when it is not a valid safetensors file.
  explicit SafetensorsFile(const std::filesystem::path& path);
  SafetensorsFile(SafetensorsFile&&) = default;
  SafetensorsFile& operator=(SafetensorsFile&&) = default;

  const std::vector<TensorView>& tensors() const { return content_.tensors; }
  const TensorView* find(std::string_view name) const;  // nullptr when there is none
  const SafetensorsMetadata& metadata() const { return content_.metadata; }
  const std::filesystem::path& path() const { return map_->path(); }
  // Keeps the views' bytes valid after the SafetensorsFile is gone.
  std::shared_ptr<const void> keep_alive() const { return map_; }

 private:
  std::shared_ptr<const MappedFile> map_;
  SafetensorsContent content_;
  std::map<std::string_view, size_t> index_by_name_;  // into content_, whose strings do not move with it
};

// Writes atomically; the same tensors give the same bytes: ordered by decreasing element size, then by name, as in the
// official library, so that every tensor is aligned to its element. Names must differ; the order given does not matter.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                       const SafetensorsMetadata& metadata = {});

// The same for tensors whose bytes are produced one at a time: bytes_of(i) is called once per tensor, in file order,
// and must return element_count * element size bytes that stay valid until the next call. tensors[i].bytes is
// ignored.
using TensorBytes = std::function<std::span<const std::byte>(size_t index)>;
void write_safetensors_streamed(const std::filesystem::path& path, std::span<const TensorView> tensors,
                                const TensorBytes& bytes_of, const SafetensorsMetadata& metadata = {});

}  // namespace millrace
