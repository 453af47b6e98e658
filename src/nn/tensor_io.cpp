#include "nn/tensor_io.h"

#include <ATen/Parallel.h>

#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "formats/dequantise.h"
#include "formats/weight_store.h"

namespace millrace {
namespace {

constexpr int64_t kBlocksPerThread = 1024;

// In the order of DType's enumerators.
constexpr std::array<torch::ScalarType, kAllDTypes.size()> kScalarTypes = {
    torch::kFloat64,     torch::kFloat32, torch::kFloat16, torch::kBFloat16, torch::kFloat8_e4m3fn,
    torch::kFloat8_e5m2, torch::kInt64,   torch::kInt32,   torch::kInt16,    torch::kInt8,
    torch::kUInt64,      torch::kUInt32,  torch::kUInt16,  torch::kUInt8,    torch::kBool};

torch::Tensor contiguous_on_cpu(const torch::Tensor& tensor) {
  return tensor.detach().to(torch::kCPU).resolve_conj().resolve_neg().contiguous();
}

torch::Tensor dequantised(const TensorView& view) {
  const BlockFormatInfo& info = block_format_info(view.block_format);
  torch::Tensor values = torch::empty(view.shape, torch::kFloat32);
  const int64_t blocks = values.numel() / info.elements;
  const auto part = [&](int64_t begin, int64_t end, int64_t size) {
    return std::pair(static_cast<size_t>(begin * size), static_cast<size_t>((end - begin) * size));
  };
  const std::span all(values.data_ptr<float>(), static_cast<size_t>(values.numel()));
  at::parallel_for(0, blocks, kBlocksPerThread, [&](int64_t begin, int64_t end) {
    const auto [byte, bytes] = part(begin, end, info.bytes);
    const auto [element, elements] = part(begin, end, info.elements);
    dequantise_blocks(view.block_format, view.bytes.subspan(byte, bytes), all.subspan(element, elements));
  });
  return values;
}

// Row 2 i + half of a head, in the file, is row i of that half.
torch::Tensor heads_in_order(TensorView view, std::shared_ptr<const void> keep_alive) {
  const int64_t heads = std::exchange(view.interleaved_heads, 0);
  const torch::Tensor stored = to_tensor(view, std::move(keep_alive));
  return stored.view({heads, view.shape[0] / heads / 2, 2, -1}).transpose(1, 2).reshape(view.shape);
}

}  // namespace

torch::ScalarType to_scalar_type(DType dtype) {
  return kScalarTypes.at(static_cast<size_t>(dtype));
}

DType to_dtype(torch::ScalarType type, const std::string& what) {
  for (const DType dtype : kAllDTypes) {
    if (to_scalar_type(dtype) == type) return dtype;
  }
  throw ModelError(str("[", what, "] expected a type that safetensors files hold, got ", c10::toString(type)));
}

torch::Tensor to_tensor(const TensorView& view, std::shared_ptr<const void> keep_alive) {
  if (view.interleaved_heads > 0) return heads_in_order(view, std::move(keep_alive));
  if (view.block_format != BlockFormat::kNone) return dequantised(view);
  const auto options = torch::TensorOptions().dtype(to_scalar_type(view.dtype));
  if (view.bytes.empty()) return torch::empty(view.shape, options);
  if (view.dtype == DType::kBool) {  // a byte that is neither 0 nor 1 is not a bool to C++
    TensorView as_bytes = view;
    as_bytes.dtype = DType::kU8;
    return to_tensor(as_bytes).ne(0);
  }
  const bool aligned = reinterpret_cast<uintptr_t>(view.bytes.data()) % size_of(view.dtype) == 0;
  if (!aligned) {
    torch::Tensor copy = torch::empty(view.shape, options);
    std::memcpy(copy.data_ptr(), view.bytes.data(), view.bytes.size());
    return copy;
  }
  // from_blob takes a non-const pointer; nothing here writes through it.
  void* data = const_cast<std::byte*>(view.bytes.data());
  return torch::from_blob(
      data, view.shape, [held = std::move(keep_alive)](void*) mutable { held.reset(); }, options);
}

TensorView to_view(const std::string& name, const torch::Tensor& tensor) {
  MILLRACE_CHECK(tensor.is_cpu() && tensor.is_contiguous() && !tensor.is_conj() && !tensor.is_neg());
  return {name,
          to_dtype(tensor.scalar_type(), name),
          tensor.sizes().vec(),
          {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()}};
}

TensorMap load_tensors(const std::filesystem::path& path) {
  const WeightStore store(path);
  TensorMap tensors;
  for (const TensorView& view : store.tensors()) tensors.emplace(view.name, to_tensor(view).clone());
  return tensors;
}

void save_tensors(const std::filesystem::path& path, const TensorMap& tensors, const SafetensorsMetadata& metadata) {
  save_tensors(path, tensors, metadata, [&](const std::string& name) { return tensors.at(name); });
}

void save_tensors(const std::filesystem::path& path, const TensorMap& tensors, const SafetensorsMetadata& metadata,
                  const TensorSource& source) {
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : tensors) {
    MILLRACE_CHECK(tensor.defined() && tensor.layout() == torch::kStrided);
    views.push_back({name, to_dtype(tensor.scalar_type(), name), tensor.sizes().vec(), {}});
  }
  torch::Tensor held;
  write_safetensors_streamed(
      path, views,
      [&](size_t i) {
        held = torch::Tensor();  // free the previous tensor before making the next
        held = contiguous_on_cpu(source(views[i].name));
        MILLRACE_CHECK(held.sizes() == torch::IntArrayRef(views[i].shape));
        return to_view(views[i].name, held).bytes;
      },
      metadata);
}

}  // namespace millrace
