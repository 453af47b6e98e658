// Writes GGUF files (formats/gguf.h), one tensor after the other, so that a model may be larger than memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/gguf.h"

namespace millrace {

// Typed keys in the order in which they are added.
class GgufKeys {
 public:
  void add(std::string_view key, std::string_view text);
  void add(std::string_view key, uint32_t number);
  void add(std::string_view key, float number);
  void add(std::string_view key, bool flag);
  void add(std::string_view key, const std::vector<std::string>& texts);
  void add(std::string_view key, const std::vector<int32_t>& numbers);
  void add(std::string_view key, const std::vector<float>& numbers);

  uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void begin(std::string_view key, GgufType type);

  uint64_t count_ = 0;
  std::string bytes_;
};

// What a file holds numbers as.
enum class GgufStorage { kF32, kF16, kQ8_0 };

struct GgufTensor {
  std::string name;
  std::vector<int64_t> shape;  // the last dimension contiguous, as elsewhere
  GgufStorage storage = GgufStorage::kF32;
};

// Writes path atomically. values(i) gives the numbers of tensors[i], valid until the next call; it is called once for
// each, in order. Q8_0 takes 32 numbers a block: the last dimension must be a multiple of that. Throws StorageError.
using GgufValues = std::function<std::span<const float>(size_t index)>;
void write_gguf(const std::filesystem::path& path, const GgufKeys& keys, std::span<const GgufTensor> tensors,
                const GgufValues& values);

// The nearest number in half precision, halves to even; too large ones become infinite.
uint16_t to_half(float value);

}  // namespace millrace
