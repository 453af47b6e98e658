#include "formats/gguf.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/quote.h"

namespace millrace {

namespace {

constexpr uint64_t kMaxNameBytes = 65535;
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kDefaultAlignment = 32, kMaxAlignment = 1 << 20;

// Bytes of a value of that type; 0 for strings.
uint64_t size_of(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

struct TensorType {
  DType dtype = DType::kF32;
  BlockFormat block_format = BlockFormat::kNone;
};

std::optional<TensorType> find_tensor_type(uint32_t number) {
  switch (number) {
    case 0:
      return TensorType{DType::kF32};
    case 1:
      return TensorType{DType::kF16};
    case 24:
      return TensorType{DType::kI8};
    case 25:
      return TensorType{DType::kI16};
    case 26:
      return TensorType{DType::kI32};
    case 27:
      return TensorType{DType::kI64};
    case 28:
      return TensorType{DType::kF64};
    case 30:
      return TensorType{DType::kBF16};
  }
  for (const BlockFormat format : kAllBlockFormats) {
    if (block_format_info(format).gguf_type == number) return TensorType{DType::kF32, format};
  }
  return std::nullopt;
}

std::string known_tensor_types() {
  std::vector<std::string> names = {"F32", "F16", "BF16"};
  for (const BlockFormat format : kAllBlockFormats) names.emplace_back(block_format_info(format).name);
  return join(names, ", ");
}

}  // namespace

// Walks the header once, from the first byte to the tensors' bytes.
class GgufReader {
 public:
  GgufReader(std::span<const std::byte> bytes, std::string_view place) : bytes_(bytes), place_(place) {}

  GgufContent read() {
    GgufContent content;
    content.version = read_version();
    const auto tensor_count = number<uint64_t>("the number of tensors");
    const auto key_count = number<uint64_t>("the number of keys");
    content.metadata.place_ = place_;
    for (uint64_t i = 0; i < key_count; ++i) read_key(content.metadata);
    const int64_t alignment = content.metadata.integer("general.alignment").value_or(kDefaultAlignment);
    if (alignment < 1 || alignment > static_cast<int64_t>(kMaxAlignment) || (alignment & (alignment - 1)) != 0) {
      fail("general.alignment", str("a power of two up to ", kMaxAlignment), str(alignment));
    }
    alignment_ = static_cast<uint64_t>(alignment);
    for (uint64_t i = 0; i < tensor_count; ++i) read_tensor(content.tensors);
    place_tensors(content.tensors);
    return content;
  }

 private:
  [[noreturn]] void fail(const std::string& where, const std::string& expected, const std::string& got) const {
    throw ModelError(str("[", place_, ", ", where, "] expected ", expected, ", got ", got));
  }
  std::span<const std::byte> take(uint64_t size, const std::string& what) {
    if (size > bytes_.size() - at_) {
      fail(str("byte ", at_), str(size, " bytes of ", what), str(bytes_.size() - at_, " (the file is cut short?)"));
    }
    const auto taken = bytes_.subspan(at_, size);
    at_ += size;
    return taken;
  }
  template <typename T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }
  std::string_view string(uint64_t max_bytes, const std::string& what) {
    const auto length = number<uint64_t>(str("the length of ", what));
    if (length > max_bytes) fail(str("byte ", at_ - 8), str(what, " of at most ", max_bytes, " bytes"), str(length));
    const auto text = take(length, what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }
  std::string name(const std::string& what) {
    const std::string_view text = string(kMaxNameBytes, what);
    if (text.empty() || !is_valid_utf8(text))
      fail(str("byte ", at_ - text.size()), str(what, " in UTF-8"), "other bytes");
    return std::string(text);
  }

  uint32_t read_version() {
    const auto magic = take(kGgufMagic.size(), "a GGUF file's mark");
    if (std::memcmp(magic.data(), kGgufMagic.data(), kGgufMagic.size()) != 0) {
      fail("byte 0", "the letters GGUF", "something else");
    }
    const auto version = number<uint32_t>("the version");
    if (version == 2 || version == 3) return version;
    const bool is_swapped = (version & 0xFFFF) == 0 && version != 0;
    fail("byte 4", "GGUF version 2 or 3", is_swapped ? "a big-endian file" : str("version ", version));
  }

  GgufType type(const std::string& what) {
    const auto number_of_type = number<uint32_t>(str("the type of ", what));
    if (number_of_type > static_cast<uint32_t>(GgufType::kFloat64)) {
      fail(str("byte ", at_ - 4), "a type of value from 0 to 12", str(number_of_type));
    }
    return static_cast<GgufType>(number_of_type);
  }

  void read_key(GgufMetadata& metadata) {
    const std::string key = name("a key");
    GgufValue value;
    value.type = type(key);
    value.is_array = value.type == GgufType::kArray;
    if (value.is_array) {
      value.type = type(str("the elements of ", key));
      if (value.type == GgufType::kArray) fail(in_quotes(key), "an array of numbers or strings", "an array of arrays");
      value.count = number<uint64_t>(str("the length of ", key));
    }
    const uint64_t begin = at_;
    if (const uint64_t size = size_of(value.type); size > 0) {
      if (value.count > bytes_.size() / size) fail(in_quotes(key), "elements within the file", str(value.count));
      take(value.count * size, key);
    } else {
      for (uint64_t i = 0; i < value.count; ++i) string(bytes_.size(), key);
    }
    value.bytes = bytes_.subspan(begin, at_ - begin);
    if (!metadata.values_.emplace(key, value).second) fail(in_quotes(key), "each key once", "it twice");
  }

  void read_tensor(std::vector<TensorView>& tensors) {
    TensorView tensor;
    tensor.name = name("a tensor's name");
    const std::string where = "tensor " + in_quotes(tensor.name);
    if (!names_.insert(tensor.name).second) fail(where, "each tensor once", "it twice");
    const auto dimensions = number<uint32_t>("the number of dimensions");
    if (dimensions > kMaxDimensions) fail(where, str("at most ", kMaxDimensions, " dimensions"), str(dimensions));
    for (uint32_t i = 0; i < dimensions; ++i) {
      const auto size = number<uint64_t>("a dimension");
      if (size > static_cast<uint64_t>(INT64_MAX)) fail(where, "sizes below 2^63", str(size));
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(size));  // the file's first is the contiguous one
    }
    const auto type_number = number<uint32_t>("a tensor's type");
    const auto tensor_type = find_tensor_type(type_number);
    if (!tensor_type) {
      fail(where, "one of the types " + known_tensor_types(),
           str("type ", type_number, " (try another quantisation of the model)"));
    }
    tensor.dtype = tensor_type->dtype;
    tensor.block_format = tensor_type->block_format;
    if (tensor.block_format != BlockFormat::kNone) {
      const BlockFormatInfo& info = block_format_info(tensor.block_format);
      if (tensor.shape.empty() || tensor.shape.back() % info.elements != 0) {
        fail(where, str("rows of whole ", info.name, " blocks of ", info.elements), shape_text(tensor.shape));
      }
    }
    const auto wanted = stored_byte_count(tensor);
    if (!wanted) fail(where, "a shape below 2^63 bytes", shape_text(tensor.shape));
    places_.push_back({number<uint64_t>("a tensor's offset"), *wanted});
    tensors.push_back(std::move(tensor));
  }

  // Points each tensor at its bytes, which begin after the header, aligned.
  void place_tensors(std::vector<TensorView>& tensors) const {
    const uint64_t padding = (alignment_ - at_ % alignment_) % alignment_;
    const auto data = bytes_.subspan(std::min<uint64_t>(bytes_.size(), at_ + padding));
    std::vector<size_t> by_offset(tensors.size());
    for (size_t i = 0; i < by_offset.size(); ++i) by_offset[i] = i;
    std::stable_sort(by_offset.begin(), by_offset.end(), [&](size_t a, size_t b) {
      return std::pair(places_[a].offset, places_[a].size) < std::pair(places_[b].offset, places_[b].size);
    });
    uint64_t end = 0;
    for (const size_t i : by_offset) {
      const auto [offset, size] = places_[i];
      const std::string where = "tensor " + in_quotes(tensors[i].name);
      if (offset % alignment_ != 0) fail(where, str("an offset divisible by ", alignment_), str(offset));
      if (offset < end) fail(where, str("bytes of its own, from ", end), str("an offset of ", offset));
      if (offset > data.size() || size > data.size() - offset) {
        fail(where, str(size, " bytes from ", offset),
             str(data.size(), " bytes of tensors in all (the file is cut short: download or copy it again)"));
      }
      tensors[i].bytes = data.subspan(offset, size);
      end = offset + size;
    }
  }

  struct Place {
    uint64_t offset, size;
  };
  std::span<const std::byte> bytes_;
  std::string place_;
  uint64_t at_ = 0, alignment_ = 0;
  std::set<std::string, std::less<>> names_;
  std::vector<Place> places_;  // as the tensors
};

GgufContent parse_gguf(std::span<const std::byte> bytes, std::string_view place) {
  return GgufReader(bytes, place).read();
}

GgufFile::GgufFile(const std::filesystem::path& path)
    : map_(std::make_shared<MappedFile>(path)), content_(parse_gguf(map_->bytes(), path.string())) {}

}  // namespace millrace
