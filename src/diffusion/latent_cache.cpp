#include "diffusion/latent_cache.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/printable.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

torch::Tensor as_bytes(const std::string& text) {
  torch::Tensor bytes = torch::empty({static_cast<int64_t>(text.size())}, torch::kUInt8);
  std::copy(text.begin(), text.end(), bytes.data_ptr<uint8_t>());
  return bytes;
}

std::string as_text(const torch::Tensor& bytes) {
  return {reinterpret_cast<const char*>(bytes.const_data_ptr<uint8_t>()), static_cast<size_t>(bytes.numel())};
}

uint64_t size_of(const CachedLatents& latents) {
  return latents.moments.mean_BZhw.nbytes() + latents.moments.logvar_BZhw.nbytes() +
         (latents.mask_11hw.defined() ? latents.mask_11hw.nbytes() : 0);
}

}  // namespace

LatentCache::LatentCache(const LatentCacheOptions& options) : options_(options) {
  if (!options_.folder.empty()) create_folders(options_.folder);
}

std::string LatentCache::whole_key(const std::string& key) const {
  return options_.identity + "\n" + key;
}

std::filesystem::path LatentCache::file_of(const std::string& key) const {
  const std::string whole = whole_key(key);
  return options_.folder / (checksum_text(checksum64(whole.data(), whole.size())) + ".safetensors");
}

bool LatentCache::holds(const std::string& key) const {
  if (memory_.contains(key)) return true;
  std::error_code error;
  return !options_.folder.empty() && std::filesystem::exists(file_of(key), error);
}

std::optional<CachedLatents> LatentCache::find(const std::string& key) {
  const auto known = memory_.find(key);
  if (known != memory_.end()) return known->second;
  if (!holds(key)) return std::nullopt;
  const std::filesystem::path path = file_of(key);
  try {
    const TensorMap tensors = load_tensors(path);
    if (as_text(tensors.at("key")) != whole_key(key)) return std::nullopt;  // two keys may share a checksum
    CachedLatents latents{{tensors.at("mean"), tensors.at("logvar")}, {}};
    if (tensors.contains("mask")) latents.mask_11hw = tensors.at("mask");
    remember(key, latents);
    return latents;
  } catch (const std::exception& error) {
    log_warning("[", printable(path.string()), "] expected cached latents, encoding again: ", error.what());
    return std::nullopt;
  }
}

void LatentCache::keep(const std::string& key, const CachedLatents& latents) {
  remember(key, latents);
  if (options_.folder.empty()) return;
  TensorMap tensors = {
      {"mean", latents.moments.mean_BZhw}, {"logvar", latents.moments.logvar_BZhw}, {"key", as_bytes(whole_key(key))}};
  if (latents.mask_11hw.defined()) tensors["mask"] = latents.mask_11hw;
  save_tensors(file_of(key), tensors);
}

void LatentCache::remember(const std::string& key, const CachedLatents& latents) {
  const uint64_t size = size_of(latents);
  if (used_bytes_ + size <= options_.max_bytes) {
    used_bytes_ += size;
    memory_[key] = latents;
  } else if (options_.folder.empty() && !warned_full_) {
    warned_full_ = true;
    log_warning("[encoder.cache_latents] holds the latents of ", memory_.size(),
                " pictures, all that fits: the others are encoded at each step (try encoder.cache_latents = \"disk\")");
  }
}

}  // namespace millrace
