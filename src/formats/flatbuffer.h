// Tables of a FlatBuffer, with every access checked. https://flatbuffers.dev/internals/
//
// Used only for what Arrow's headers do not expose: the declarations that decide how much memory a record batch
// would take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "base/error.h"

namespace millrace {

class FlatTable {
 public:
  // The root table. Any access outside the buffer throws a DataError that names place.
  static FlatTable root(std::span<const std::byte> buffer, const char* place) {
    FlatTable table(buffer, 0, place);
    table.position_ = table.load<uint32_t>(0);
    return table;
  }

  // The scalar in the field with this number (in schema order), or its default.
  template <typename T>
  T scalar(int field, T fallback) const {
    const size_t offset = field_offset(field);
    return offset ? load<T>(position_ + offset) : fallback;
  }
  std::optional<FlatTable> table(int field) const {
    const size_t offset = field_offset(field);
    if (!offset) return std::nullopt;
    return FlatTable(buffer_, follow(position_ + offset), place_);
  }
  // A vector of T: its number of entries, and one entry.
  uint32_t vector_size(int field) const {
    const size_t offset = field_offset(field);
    return offset ? load<uint32_t>(follow(position_ + offset)) : 0;
  }
  template <typename T>
  T vector_entry(int field, uint32_t index) const {
    return load<T>(follow(position_ + field_offset(field)) + 4 + size_t{index} * sizeof(T));
  }

 private:
  FlatTable(std::span<const std::byte> buffer, size_t position, const char* place)
      : buffer_(buffer), position_(position), place_(place) {}

  template <typename T>
  T load(size_t at) const {
    if (at > buffer_.size() || buffer_.size() - at < sizeof(T))
      throw DataError(std::string("[") + place_ + "] expected a message within its bytes, got an offset outside");
    T value;
    std::memcpy(&value, buffer_.data() + at, sizeof value);
    return value;
  }
  size_t follow(size_t at) const { return at + load<uint32_t>(at); }
  size_t field_offset(int field) const {
    const int64_t vtable = static_cast<int64_t>(position_) - load<int32_t>(position_);
    if (vtable < 0) load<uint8_t>(buffer_.size());  // fails
    const size_t entry = 4 + 2 * static_cast<size_t>(field);
    if (entry + 2 > load<uint16_t>(static_cast<size_t>(vtable))) return 0;  // written by an older schema
    return load<uint16_t>(static_cast<size_t>(vtable) + entry);
  }

  std::span<const std::byte> buffer_;
  size_t position_;
  const char* place_;
};

}  // namespace millrace
