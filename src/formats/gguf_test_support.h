// Writes GGUF files for tests, right or wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"

namespace millrace {

class GgufText {
 public:
  explicit GgufText(uint32_t version = 3) : version_(version) {}

  GgufText& string(std::string_view key, std::string_view value) {
    begin_key(key, GgufType::kString);
    text(keys_, value);
    return *this;
  }
  template <typename T>
  GgufText& number(std::string_view key, GgufType type, T value) {
    begin_key(key, type);
    raw(keys_, value);
    return *this;
  }
  GgufText& strings(std::string_view key, const std::vector<std::string>& values) {
    begin_key(key, GgufType::kArray);
    raw(keys_, static_cast<uint32_t>(GgufType::kString));
    raw(keys_, uint64_t{values.size()});
    for (const std::string& value : values) text(keys_, value);
    return *this;
  }
  GgufText& integers(std::string_view key, const std::vector<int32_t>& values) {
    begin_key(key, GgufType::kArray);
    raw(keys_, static_cast<uint32_t>(GgufType::kInt32));
    raw(keys_, uint64_t{values.size()});
    for (const int32_t value : values) raw(keys_, value);
    return *this;
  }
  GgufText& floats(std::string_view key, const std::vector<float>& values) {
    begin_key(key, GgufType::kArray);
    raw(keys_, static_cast<uint32_t>(GgufType::kFloat32));
    raw(keys_, uint64_t{values.size()});
    for (const float value : values) raw(keys_, value);
    return *this;
  }
  // sizes: the contiguous one first, as in the file. offset: from the first tensor's byte.
  GgufText& tensor(std::string_view name, const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
    text(tensors_, name);
    raw(tensors_, static_cast<uint32_t>(sizes.size()));
    for (const uint64_t size : sizes) raw(tensors_, size);
    raw(tensors_, type);
    raw(tensors_, offset);
    ++tensor_count_;
    return *this;
  }
  // The file, with so many bytes of tensors.
  std::string file(size_t data_bytes, char fill = 1) const {
    std::string all(kGgufMagic);
    raw(all, version_);
    raw(all, tensor_count_);
    raw(all, key_count_);
    all += keys_ + tensors_;
    all.resize((all.size() + 31) / 32 * 32, '\0');
    return all.append(data_bytes, fill);
  }

 private:
  template <typename T>
  static void raw(std::string& to, T value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  static void text(std::string& to, std::string_view value) {
    raw(to, uint64_t{value.size()});
    to += value;
  }
  void begin_key(std::string_view key, GgufType type) {
    text(keys_, key);
    raw(keys_, static_cast<uint32_t>(type));
    ++key_count_;
  }

  uint32_t version_;
  uint64_t tensor_count_ = 0, key_count_ = 0;
  std::string keys_, tensors_;
};

}  // namespace millrace
