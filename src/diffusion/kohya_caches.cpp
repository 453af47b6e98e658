#include "diffusion/kohya_caches.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "formats/npz.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTextKey = "millrace_key";

const char* key_name(bool mirrored) {
  return mirrored ? "millrace_key_flipped" : "millrace_key";
}

std::string with_size(const char* name, int64_t rows, int64_t columns) {
  return str(name, "_", rows, "x", columns);
}

// Arrays in an archive may begin anywhere.
torch::Tensor copy_of(const NpyArray& array) {
  const torch::Tensor copy = torch::empty(array.shape, to_scalar_type(array.dtype));
  std::memcpy(copy.mutable_data_ptr(), array.bytes.data(), array.bytes.size());
  return copy;
}

// Files may have fp16.
torch::Tensor floats_of(const NpyArray& array) {
  return copy_of(array).to(torch::kFloat32);
}

std::optional<uint64_t> key_in(const NpzFile& npz, const std::string& name) {
  const NpyArray* array = npz.find(name);
  if (array == nullptr || array->dtype != DType::kI64 || array->bytes.size() != sizeof(uint64_t)) return std::nullopt;
  uint64_t key = 0;
  std::memcpy(&key, array->bytes.data(), sizeof key);
  return key;
}

// None where there is no such file, or it is damaged, which is warned of.
std::optional<NpzFile> open_if_sound(const fs::path& file) {
  std::error_code error;
  if (!fs::exists(file, error)) return std::nullopt;
  try {
    return std::optional<NpzFile>(std::in_place, file);
  } catch (const DataError& problem) {
    log_warning("writing a file anew: ", problem.what());
    return std::nullopt;
  }
}

template <typename T>
std::span<const std::byte> bytes_of(const T& values) {
  return {reinterpret_cast<const std::byte*>(values.data()), sizeof values[0] * values.size()};
}

std::span<const std::byte> bytes_of(const torch::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

NpzArray array_of(const std::string& name, const torch::Tensor& tensor) {
  return {name, to_dtype(tensor.scalar_type(), name), tensor.sizes().vec(), bytes_of(tensor)};
}

// The box of the crop in a picture of the bucket's height or width, as SDXL is told: with sides in proportion to the
// picture's, not in pixels of the resized one.
std::array<double, 4> crop_box(const KohyaLatents& of) {
  const auto width = static_cast<double>(of.original.width), height = static_cast<double>(of.original.height);
  const auto bucket_width = static_cast<double>(of.bucket.width), bucket_height = static_cast<double>(of.bucket.height);
  const double aspect = width / height, bucket_aspect = bucket_width / bucket_height;
  double resized_width = bucket_width, resized_height = bucket_height;
  if (bucket_aspect > aspect) {
    resized_width = bucket_height * aspect;
  } else {
    resized_height = bucket_width / aspect;
  }
  const double left = std::floor((bucket_width - resized_width) / 2),
               top = std::floor((bucket_height - resized_height) / 2);
  return {left, top, left + resized_width, top + resized_height};
}

}  // namespace

fs::path kohya_latents_file(const fs::path& picture, const PictureSize& size) {
  char ending[64];
  std::snprintf(ending, sizeof ending, "_%04lldx%04lld_flux.npz", static_cast<long long>(size.width),
                static_cast<long long>(size.height));
  return picture.parent_path() / (picture.stem().string() + ending);
}

fs::path kohya_text_file(const fs::path& picture) {
  return picture.parent_path() / (picture.stem().string() + "_flux_te.npz");
}

bool is_current(const fs::path& cache, const fs::path& source) {
  std::error_code error;
  const auto made = fs::last_write_time(cache, error);
  if (error) return false;
  const auto changed = fs::last_write_time(source, error);
  if (error || changed <= made) return true;
  log_warning("[", printable(cache.string()), "] expected a cache newer than ", printable(source.filename().string()),
              ", got an older one: encoding again");
  return false;
}

std::optional<StoredLatents> read_kohya_latents(const fs::path& file, int64_t rows, int64_t columns, bool mirrored) {
  const NpzFile npz(file);
  const std::string name = with_size(mirrored ? "latents_flipped" : "latents", rows, columns);
  const NpyArray* array = npz.find(name);
  if (array == nullptr) return std::nullopt;
  if (array->shape.size() != 3 || array->shape[1] != rows || array->shape[2] != columns || !is_floating(array->dtype)) {
    throw DataError(str("[", printable(file.string()), ": ", name, "] expected numbers [channels, ", rows, ", ",
                        columns, "], got another shape or type"));
  }
  StoredLatents stored{.latents_Zhw = floats_of(*array), .mask_HW = {}, .key = {}};
  stored.key = key_in(npz, with_size(key_name(mirrored), rows, columns));
  const NpyArray* mask = npz.find(with_size("alpha_mask", rows, columns));
  if (mask != nullptr && mask->shape.size() == 2 && is_floating(mask->dtype)) {
    stored.mask_HW = floats_of(*mask);
    if (mirrored) stored.mask_HW = stored.mask_HW.flip(1);
  }
  return stored;
}

void write_kohya_latents(const fs::path& file, const KohyaLatents& of, bool keeps_others) {
  const torch::Tensor latents = of.latents_Zhw.to(torch::kCPU, torch::kFloat32).contiguous();
  const int64_t rows = latents.size(1), columns = latents.size(2);
  const std::array<int64_t, 2> size = {of.original.width, of.original.height};
  const std::array<double, 4> box = crop_box(of);
  std::vector<NpzArray> ours = {{with_size(of.mirrored ? "latents_flipped" : "latents", rows, columns), DType::kF32,
                                 latents.sizes().vec(), bytes_of(latents)},
                                {with_size("original_size", rows, columns), DType::kI64, {2}, bytes_of(size)},
                                {with_size("crop_ltrb", rows, columns), DType::kF64, {4}, bytes_of(box)}};
  const torch::Tensor mask =
      of.mask_HW.defined() ? of.mask_HW.to(torch::kCPU, torch::kFloat32).contiguous() : of.mask_HW;
  if (mask.defined()) ours.push_back(array_of(with_size("alpha_mask", rows, columns), mask));
  const std::array<int64_t, 1> key = {static_cast<int64_t>(of.key.value_or(0))};
  if (of.key) ours.push_back({with_size(key_name(of.mirrored), rows, columns), DType::kI64, {1}, bytes_of(key)});
  std::vector<NpzArray> all;
  const std::optional<NpzFile> before = keeps_others ? open_if_sound(file) : std::nullopt;
  if (before) {
    for (const auto& [name, array] : before->arrays()) {
      const bool replaced =
          std::any_of(ours.begin(), ours.end(), [&](const NpzArray& own) { return own.name == name; });
      if (!replaced) all.push_back({name, array.dtype, array.shape, array.bytes});
    }
  }
  for (NpzArray& array : ours) all.push_back(std::move(array));
  write_npz(file, all);
}

std::optional<KohyaText> read_kohya_text(const fs::path& file) {
  const NpzFile npz(file);
  const NpyArray *pooled = npz.find("l_pooled"), *tokens = npz.find("t5_out"), *mask = npz.find("t5_attn_mask"),
                 *is_masked = npz.find("apply_t5_attn_mask");
  if (pooled == nullptr || tokens == nullptr || mask == nullptr || is_masked == nullptr) return std::nullopt;
  const bool has_shapes = pooled->shape.size() == 1 && tokens->shape.size() == 2 && mask->dtype == DType::kI64 &&
                          is_floating(pooled->dtype) && is_floating(tokens->dtype);
  if (!has_shapes) return std::nullopt;
  KohyaText text{.pooled_V = floats_of(*pooled), .tokens_TX = floats_of(*tokens)};
  text.is_masked = !is_masked->bytes.empty() && is_masked->bytes[0] != std::byte{0};
  text.num_tokens = copy_of(*mask).sum().item<int64_t>();
  text.key = key_in(npz, kTextKey);
  return text;
}

void write_kohya_text(const fs::path& file, const KohyaText& text) {
  const torch::Tensor pooled = text.pooled_V.to(torch::kCPU, torch::kFloat32).contiguous();
  const torch::Tensor tokens = text.tokens_TX.to(torch::kCPU, torch::kFloat32).contiguous();
  const int64_t length = tokens.size(0);
  const torch::Tensor ids = torch::zeros({length, 3});
  const torch::Tensor mask = (torch::arange(length) < text.num_tokens).to(torch::kInt64);
  const std::array<std::byte, 1> is_masked = {std::byte{text.is_masked}};
  std::vector<NpzArray> arrays = {array_of("l_pooled", pooled),
                                  array_of("t5_out", tokens),
                                  array_of("txt_ids", ids),
                                  array_of("t5_attn_mask", mask),
                                  {"apply_t5_attn_mask", DType::kBool, {}, is_masked}};
  const std::array<int64_t, 1> key = {static_cast<int64_t>(text.key.value_or(0))};
  if (text.key) arrays.push_back({kTextKey, DType::kI64, {1}, bytes_of(key)});
  write_npz(file, arrays);
}

}  // namespace millrace
