// Which encoders made a data set's encodings, so that nobody mixes those of different ones.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffusion/flux_run_config.h"

namespace millrace {

// The name of the file that says so, in the data set's folder.
inline constexpr const char* kEncodingsManifest = "millrace.json";

// Throws DataError for what is no JSON.
nlohmann::ordered_json read_encodings_manifest(const std::filesystem::path& file);

// {"t5": {"weights": hash, "tokenizer": hash, "tokens": 256}, "clip": {"weights", "tokenizer"}, "autoencoder":
// {"weights"}}, of those that the configuration names. Hashes are of the files' contents
// (formats/weight_fingerprint.h), not of where they lie.
nlohmann::ordered_json encoder_identity(const EncoderConfig& encoder);

// Throws ModelError where the manifest in a data set's folder (or beside a file of it) names other encoders than the
// configuration does. What either leaves open, or is not there, is not judged.
void check_encoded_with(const std::filesystem::path& dataset, const EncoderConfig& encoder);

// Throws ModelError where the manifests in these folders name different networks, or numbers of tokens. A folder
// without one is not judged; nor are tokenizers, which come as different files that do the same.
void check_encoded_alike(const std::vector<std::filesystem::path>& folders);

// The first difference as "expected X, got Y", with the keys that lead there; empty: wanted and found are equal as far
// as both have a key.
std::string describe_difference(const nlohmann::ordered_json& wanted, const nlohmann::ordered_json& found,
                                const std::string& place = "");

}  // namespace millrace
