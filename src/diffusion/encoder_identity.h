// Which encoders made a data set's encodings, so that encodings of different encoders are never mixed.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "diffusion/flux_run_config.h"

namespace millrace {

// The manifest's file name, in the data set's folder.
inline constexpr const char* kEncodingsManifest = "millrace.json";

// Throws DataError if it is not JSON.
nlohmann::ordered_json read_encodings_manifest(const std::filesystem::path& file);

// {"t5": {"weights": hash, "tokenizer": hash, "tokens": 256}, "clip": {"weights", "tokenizer"}, "autoencoder":
// {"weights"}}, for the encoders that the configuration names. Hashes cover the files' contents
// (formats/weight_fingerprint.h), not their paths.
nlohmann::ordered_json encoder_identity(const EncoderConfig& encoder);

// One text encoder's weights and tokenizer likewise. tokenizer: "": beside the weights.
std::string text_encoder_hash(const std::string& weights, const std::string& tokenizer);

// Throws ModelError if the manifest in a data set's folder (or beside one of its files) names other encoders than the
// configuration does. Fields missing on either side are not compared.
void check_encoded_with(const std::filesystem::path& dataset, const EncoderConfig& encoder);

// Throws ModelError if the manifests in these folders name different networks or numbers of tokens. Folders without a
// manifest are skipped; tokenizers are not compared, since different files can hold the same tokenizer.
void check_encoded_alike(const std::vector<std::filesystem::path>& folders);

// The first difference as "expected X, got Y", with the path of keys; empty: wanted and found agree in all keys that
// both have.
std::string describe_difference(const nlohmann::ordered_json& wanted, const nlohmann::ordered_json& found,
                                const std::string& place = "");

}  // namespace millrace
