#include "diffusion/encoder_identity.h"

#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "formats/json.h"
#include "formats/weight_fingerprint.h"
#include "formats/weight_store.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;

std::string weights_hash(const std::string& path) {
  return path == kRandomNetwork ? kRandomNetwork : checksum_text(weight_fingerprint(WeightStore(path)));
}

// Identifies the files that define how text becomes tokens.
std::string tokenizer_hash(const std::string& folder_or_file, const std::string& encoder) {
  if (encoder == kRandomNetwork) return kRandomNetwork;
  const fs::path path = folder_or_file.empty() ? encoder : folder_or_file;
  std::vector<fs::path> files;
  if (fs::is_directory(path)) {
    for (const char* name : {"tokenizer.json", "spiece.model", "vocab.json", "merges.txt"}) {
      if (fs::exists(path / name)) files.push_back(path / name);
    }
  } else {
    files.push_back(path);
  }
  std::vector<uint64_t> sums;
  for (const fs::path& file : files) {
    const std::string content = read_file(file, kMaxTokenizerBytes);
    sums.push_back(checksum64(content.data(), content.size()));
  }
  return checksum_text(checksum64(sums.data(), sums.size() * sizeof(uint64_t)));
}

// For an identity that encoder_identity() wrote into a manifest.
nlohmann::ordered_json networks_in(const nlohmann::ordered_json& manifest) {
  nlohmann::ordered_json networks = nlohmann::ordered_json::object();
  for (const char* encoder : {"t5", "clip", "autoencoder"}) {
    for (const char* key : {"weights", "tokens"}) {
      const auto part = manifest.find(encoder);
      if (part != manifest.end() && part->is_object() && part->contains(key)) networks[encoder][key] = part->at(key);
    }
  }
  return networks;
}

}  // namespace

nlohmann::ordered_json read_encodings_manifest(const fs::path& file) {
  constexpr uint64_t kMaxBytes = 16 << 20;
  return parse_json<DataError>(read_file(file, kMaxBytes), file.string());
}

nlohmann::ordered_json encoder_identity(const EncoderConfig& encoder) {
  nlohmann::ordered_json identity = nlohmann::ordered_json::object();
  if (!encoder.t5_encoder.empty()) {
    identity["t5"] = {{"weights", weights_hash(encoder.t5_encoder)},
                      {"tokenizer", tokenizer_hash(encoder.t5_tokenizer, encoder.t5_encoder)},
                      {"tokens", encoder.max_t5_encoding_len}};
  }
  if (!encoder.clip_encoder.empty()) {
    identity["clip"] = {{"weights", weights_hash(encoder.clip_encoder)},
                        {"tokenizer", tokenizer_hash(encoder.clip_tokenizer, encoder.clip_encoder)}};
  }
  if (!encoder.autoencoder_path.empty() && encoder.autoencoder_path != "none") {
    identity["autoencoder"] = {{"weights", weights_hash(encoder.autoencoder_path)}};
  }
  return identity;
}

std::string text_encoder_hash(const std::string& weights, const std::string& tokenizer) {
  return weights_hash(weights) + ":" + tokenizer_hash(tokenizer, weights);
}

std::string describe_difference(const nlohmann::ordered_json& wanted, const nlohmann::ordered_json& found,
                                const std::string& place) {
  if (!wanted.is_object() || !found.is_object()) {
    return wanted == found ? "" : str(place, ": expected ", wanted.dump(), ", got ", found.dump());
  }
  for (const auto& [key, value] : wanted.items()) {
    const auto other = found.find(key);
    if (other == found.end()) continue;
    const std::string difference = describe_difference(value, *other, place.empty() ? key : place + "." + key);
    if (!difference.empty()) return difference;
  }
  return "";
}

void check_encoded_alike(const std::vector<fs::path>& folders) {
  fs::path first;
  nlohmann::ordered_json wanted;
  for (const fs::path& folder : folders) {
    const fs::path file = folder / kEncodingsManifest;
    if (!fs::exists(file)) continue;
    const nlohmann::ordered_json found = networks_in(read_encodings_manifest(file));
    if (first.empty()) first = folder, wanted = found;
    const std::string difference = describe_difference(wanted, found);
    if (difference.empty()) continue;
    throw ModelError(str("[", file.string(), "] ", difference, " (as in ", first.string(),
                         ": they were encoded with different networks, encode one of them again)"));
  }
}

void check_encoded_with(const fs::path& dataset, const EncoderConfig& encoder) {
  const fs::path folder = fs::is_directory(dataset) ? dataset : dataset.parent_path();
  const fs::path file = folder / kEncodingsManifest;
  if (!fs::exists(file)) return;
  const nlohmann::ordered_json found = read_encodings_manifest(file);
  // A run from encodings does not load the configured networks; they need not be on its machine.
  EncoderConfig present = encoder;
  for (std::string* path : {&present.t5_encoder, &present.clip_encoder, &present.autoencoder_path}) {
    if (*path != kRandomNetwork && !fs::exists(*path)) path->clear();
  }
  const std::string difference = describe_difference(encoder_identity(present), found);
  if (difference.empty()) return;
  throw ModelError(
      str("[", file.string(), "] ", difference,
          " (the samples were encoded with another network than the configuration names: leave that option "
          "of [encoder] empty, or encode them again)"));
}

}  // namespace millrace
