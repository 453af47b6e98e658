// Latents of pictures that are encoded once: in host memory, and in files for later runs.
//
// What is kept is the distribution that the autoencoder gives, not a draw from it, so that a run trains on the same
// numbers with the cache and without. A key says all that the latents depend on, first of all the picture's content: an
// edited picture is encoded again.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <unordered_map>

#include "diffusion/picture_codec.h"

namespace millrace {

// On the CPU.
struct CachedLatents {
  PictureMoments moments;   // [1, Z, h, w]
  torch::Tensor mask_11hw;  // undefined: none
};

struct LatentCacheOptions {
  uint64_t max_bytes = uint64_t{4} << 30;  // of memory; what does not fit is read from its file, or encoded again
  std::filesystem::path folder;            // empty: memory alone
  std::string identity;                    // of the autoencoder: part of every key
};

class LatentCache {
 public:
  // Throws StorageError where the folder cannot be made.
  explicit LatentCache(const LatentCacheOptions& options);

  // Whether find() will probably have them: a file may still turn out to be damaged.
  bool holds(const std::string& key) const;
  // A damaged file is warned of and counts as absent.
  std::optional<CachedLatents> find(const std::string& key);
  // Throws StorageError where a file cannot be written; none is left half written then.
  void keep(const std::string& key, const CachedLatents& latents);

 private:
  std::string whole_key(const std::string& key) const;
  std::filesystem::path file_of(const std::string& key) const;
  void remember(const std::string& key, const CachedLatents& latents);

  LatentCacheOptions options_;
  uint64_t used_bytes_ = 0;
  bool warned_full_ = false;
  std::unordered_map<std::string, CachedLatents> memory_;
};

}  // namespace millrace
