// write_safetensors: the header, then the bytes.
#include <algorithm>
#include <array>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/atomic_file.h"
#include "formats/safetensors.h"
#include "formats/safetensors_layout.h"

namespace millrace {
namespace {

// Where the official library puts tensors of a dtype: its enumerators from last to first.
int write_rank(DType dtype) {
  static constexpr std::array kOrder = {DType::kU64,    DType::kI64,    DType::kF64, DType::kF32, DType::kU32,
                                        DType::kI32,    DType::kBF16,   DType::kF16, DType::kU16, DType::kI16,
                                        DType::kF8E4M3, DType::kF8E5M2, DType::kI8,  DType::kU8,  DType::kBool};
  return static_cast<int>(std::find(kOrder.begin(), kOrder.end(), dtype) - kOrder.begin());
}

std::vector<size_t> write_order(std::span<const TensorView> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return comes_before(tensors[a].dtype, tensors[a].name, tensors[b].dtype, tensors[b].name);
  });
  return order;
}

std::string json_string(std::string_view text) {
  return '"' + json_escape(text) + '"';
}

void check_text(std::string_view text, std::string_view place) {
  if (!is_valid_utf8(text)) {
    throw StorageError(str("[", place, "] expected names and metadata in UTF-8, got \"", text, "\""));
  }
}

uint64_t bytes_of_shape(const TensorView& tensor) {
  return static_cast<uint64_t>(element_count(tensor.shape)) * size_of(tensor.dtype);
}

std::string header_text(std::string_view place, std::span<const TensorView> tensors, std::span<const size_t> order,
                        const SafetensorsMetadata& metadata) {
  std::string text = "{";
  const char* separator = "";
  if (!metadata.empty()) {
    text += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      check_text(key, place);
      check_text(value, place);
      text += separator + json_string(key) + ":" + json_string(value);
      separator = ",";
    }
    text += "}";
  }
  uint64_t position = 0;
  for (const size_t i : order) {
    const TensorView& tensor = tensors[i];
    check_text(tensor.name, place);
    text += separator + json_string(tensor.name) + ":{\"dtype\":\"" + std::string(dtype_name(tensor.dtype)) +
            "\",\"shape\":[";
    for (size_t k = 0; k < tensor.shape.size(); ++k) text += (k ? "," : "") + std::to_string(tensor.shape[k]);
    const uint64_t end = position + bytes_of_shape(tensor);
    text += "],\"data_offsets\":[" + std::to_string(position) + "," + std::to_string(end) + "]}";
    position = end;
    separator = ",";
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > kMaxSafetensorsHeaderBytes) {
    throw StorageError(str("[", place, "] expected a header of at most ", kMaxSafetensorsHeaderBytes, " bytes, got ",
                           text.size(), " (try several files)"));
  }
  return text;
}

}  // namespace

bool comes_before(DType dtype_a, std::string_view name_a, DType dtype_b, std::string_view name_b) {
  return std::pair(write_rank(dtype_a), name_a) < std::pair(write_rank(dtype_b), name_b);
}

SafetensorsLayout lay_out_safetensors(std::span<const TensorView> tensors, const SafetensorsMetadata& metadata,
                                      std::string_view place) {
  std::vector<size_t> order = write_order(tensors);
  std::string header = header_text(place, tensors, order, metadata);
  return {std::move(order), std::move(header)};
}

void write_safetensors_streamed(const std::filesystem::path& path, std::span<const TensorView> tensors,
                                const TensorBytes& bytes_of, const SafetensorsMetadata& metadata) {
  const SafetensorsLayout layout = lay_out_safetensors(tensors, metadata, path.string());
  const auto& [order, header] = layout;
  std::vector<std::string_view> names;
  for (const TensorView& tensor : tensors) names.push_back(tensor.name);
  std::sort(names.begin(), names.end());
  MILLRACE_CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
  MILLRACE_CHECK(!std::binary_search(names.begin(), names.end(), "__metadata__"));

  AtomicFile file(path);
  const uint64_t header_bytes = header.size();
  file.writer().write(&header_bytes, sizeof header_bytes);
  file.writer().write(header);
  for (const size_t i : order) {
    const std::span<const std::byte> bytes = bytes_of(i);
    MILLRACE_CHECK(bytes.size() == bytes_of_shape(tensors[i]));
    if (!bytes.empty()) file.writer().write(bytes.data(), bytes.size());
  }
  file.commit();
}

void write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                       const SafetensorsMetadata& metadata) {
  write_safetensors_streamed(
      path, tensors, [&](size_t i) { return tensors[i].bytes; }, metadata);
}

}  // namespace millrace
