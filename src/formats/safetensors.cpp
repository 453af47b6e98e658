#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/quote.h"
#include "formats/safetensors_header.h"

namespace millrace {
namespace {

// Entries must follow one another without hole or overlap from the header's end to the file's.
void check_layout(const std::vector<SafetensorsEntry>& entries, uint64_t data_bytes, std::string_view place) {
  uint64_t position = 0;
  for (const SafetensorsEntry& entry : entries) {
    const auto fail = [&](const std::string& expected, const std::string& got) {
      throw ModelError(str("[", place, ", header of ", in_quotes(entry.name), "] expected ", expected, ", got ", got));
    };
    if (entry.begin != position || entry.end < entry.begin) {
      fail(str("data_offsets that continue at ", position), str("[", entry.begin, ", ", entry.end, "]"));
    }
    const auto wanted = byte_count(entry.dtype, entry.shape);
    if (!wanted) fail("a shape below 2^63 bytes", shape_text(entry.shape));
    if (entry.end - entry.begin != *wanted) {
      fail(str(*wanted, " bytes for ", tensor_text(entry.dtype, entry.shape)), str(entry.end - entry.begin));
    }
    position = entry.end;
  }
  if (position != data_bytes) {
    throw ModelError(str("[", place, "] expected ", position, " bytes of tensors after the header, got ", data_bytes,
                         position > data_bytes ? " (the file is cut short: download or copy it again)" : ""));
  }
}

}  // namespace

std::optional<uint64_t> byte_count(DType dtype, std::span<const int64_t> shape) {
  auto product = static_cast<int64_t>(size_of(dtype));
  bool empty = false;
  for (const int64_t size : shape) {
    empty = empty || size == 0;
    if (size < 0 || __builtin_mul_overflow(product, std::max<int64_t>(size, 1), &product)) return std::nullopt;
  }
  return empty ? 0 : static_cast<uint64_t>(product);
}

std::optional<uint64_t> stored_byte_count(const TensorView& tensor) {
  const auto values = byte_count(tensor.dtype, tensor.shape);
  if (!values || tensor.block_format == BlockFormat::kNone) return values;
  const BlockFormatInfo& info = block_format_info(tensor.block_format);
  MILLRACE_CHECK(!tensor.shape.empty() && tensor.shape.back() % info.elements == 0);
  return *values / size_of(tensor.dtype) / static_cast<uint64_t>(info.elements) * static_cast<uint64_t>(info.bytes);
}

std::string_view stored_type_name(const TensorView& tensor) {
  return tensor.block_format == BlockFormat::kNone ? dtype_name(tensor.dtype)
                                                   : block_format_info(tensor.block_format).name;
}

int64_t element_count(std::span<const int64_t> shape) {
  int64_t count = 1;
  for (const int64_t size : shape) {
    MILLRACE_CHECK(size >= 0 && !__builtin_mul_overflow(count, size, &count));
  }
  return count;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::string tensor_text(DType dtype, std::span<const int64_t> shape) {
  return str(dtype_name(dtype), " ", shape_text(shape));
}

SafetensorsContent parse_safetensors(std::span<const std::byte> bytes, std::string_view place) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof header_bytes) {
    throw ModelError(str("[", place, "] expected a safetensors file, got ", bytes.size(), " bytes"));
  }
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  const uint64_t after_length = bytes.size() - sizeof header_bytes;
  if (header_bytes > kMaxSafetensorsHeaderBytes || header_bytes > after_length) {
    throw ModelError(str("[", place, ", byte 0] expected a safetensors header of at most ",
                         std::min(kMaxSafetensorsHeaderBytes, after_length), " bytes, got a length of ", header_bytes,
                         " (the file is cut short or not a safetensors file)"));
  }
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + sizeof header_bytes, header_bytes);
  SafetensorsHeader header = parse_safetensors_header(json, place);

  std::stable_sort(header.entries.begin(), header.entries.end(),
                   [](const auto& a, const auto& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  const auto data = bytes.subspan(sizeof header_bytes + header_bytes);
  check_layout(header.entries, data.size(), place);

  SafetensorsContent content;
  content.metadata = std::move(header.metadata);
  content.tensors.reserve(header.entries.size());
  for (SafetensorsEntry& entry : header.entries) {
    content.tensors.push_back({std::move(entry.name), entry.dtype, std::move(entry.shape),
                               data.subspan(entry.begin, entry.end - entry.begin)});
  }
  return content;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : map_(std::make_shared<MappedFile>(path)) {
  content_ = parse_safetensors(map_->bytes(), path.string());
  for (size_t i = 0; i < content_.tensors.size(); ++i) index_by_name_.emplace(content_.tensors[i].name, i);
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_by_name_.find(name);
  return found == index_by_name_.end() ? nullptr : &content_.tensors[found->second];
}

}  // namespace millrace
