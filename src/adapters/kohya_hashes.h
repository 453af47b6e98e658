// The hashes by which sd-scripts and the web interfaces around it know a file. No torch.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <stop_token>
#include <string>

#include "formats/safetensors.h"

namespace millrace {

// The hashes of a LoRA file, for its metadata. Only the keys that begin with "ss_" take part.
struct KohyaHashes {
  std::string model_hash;   // sshs_model_hash: SHA-256 of the tensors' bytes, in file order
  std::string legacy_hash;  // sshs_legacy_hash: 8 digits, of 64 KiB from 1 MiB on in the file, its header included
};
// As write_safetensors_streamed() takes them: bytes_of(i) gives the tensors' bytes one at a time.
KohyaHashes kohya_hashes(std::span<const TensorView> tensors, const TensorBytes& bytes_of,
                         const SafetensorsMetadata& metadata);

// ss_sd_model_hash of a file: 8 digits of the SHA-256 of the same 64 KiB; "NOFILE" if the file does not exist.
std::string kohya_model_hash(const std::filesystem::path& path);
// ss_new_sd_model_hash: SHA-256 of the whole file; "NOFILE" if the file does not exist, "" if it was stopped. Throws
// StorageError for a file that cannot be read, DataError for one that becomes shorter meanwhile.
std::string kohya_file_sha256(const std::filesystem::path& path, const std::stop_token& stop = {});

}  // namespace millrace
