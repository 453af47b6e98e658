// GGUF: a header of typed keys and tensor descriptions, then the tensors' bytes; quantised ones in blocks.
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
//
// Versions 2 and 3, little-endian. Files are untrusted: no key or tensor may repeat, arrays do not nest, tensors lie
// within the file, aligned and apart from each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"
#include "formats/safetensors.h"

namespace millrace {

enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};
std::string_view gguf_type_name(GgufType type);  // "uint32", "string", ...

// A value of the header, in the file's own bytes.
struct GgufValue {
  GgufType type = GgufType::kUint8;  // of the value, or of an array's elements; never kArray
  bool is_array = false;
  uint64_t count = 1;                // an array's elements
  std::span<const std::byte> bytes;  // strings with their lengths before them
};

// The typed keys. Reading one as another type than it has throws a ModelError that names it.
class GgufMetadata {
 public:
  std::optional<int64_t> integer(std::string_view key) const;  // of any integer type
  std::optional<double> number(std::string_view key) const;    // of any type of number
  std::optional<std::string_view> string(std::string_view key) const;
  std::optional<std::vector<std::string_view>> strings(std::string_view key) const;  // an array of them

  const std::map<std::string, GgufValue, std::less<>>& values() const { return values_; }
  // Every value as text; an array as "[49152 string]".
  SafetensorsMetadata as_text() const;

 private:
  friend class GgufReader;
  [[noreturn]] void fail(std::string_view key, std::string_view expected, const GgufValue& got) const;

  std::string place_;
  std::map<std::string, GgufValue, std::less<>> values_;
};

struct GgufContent {
  uint32_t version = 0;
  std::vector<TensorView> tensors;  // in the header's order; dimensions as elsewhere, the last one contiguous
  GgufMetadata metadata;
};

inline constexpr std::string_view kGgufMagic = "GGUF";

// Parses a whole file in memory; views and values point into bytes. place names the file in the ModelError thrown for
// anything malformed, and for tensors of a type that is not read here.
GgufContent parse_gguf(std::span<const std::byte> bytes, std::string_view place);

// A memory-mapped file, validated completely on opening; no tensor byte is read until someone looks at it.
class GgufFile {
 public:
  // Throws StorageError when path cannot be read, ModelError when it is not a valid GGUF file.
  explicit GgufFile(const std::filesystem::path& path);

  const std::vector<TensorView>& tensors() const { return content_.tensors; }
  const GgufMetadata& metadata() const { return content_.metadata; }
  const std::filesystem::path& path() const { return map_->path(); }

 private:
  std::shared_ptr<const MappedFile> map_;
  GgufContent content_;
};

}  // namespace millrace
