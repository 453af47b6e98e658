#include "formats/weight_folder.h"

#include <algorithm>
#include <cctype>
#include <optional>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/json.h"
#include "formats/pickle.h"
#include "formats/quote.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxIndexBytes = 100'000'000;

struct Listing {
  std::vector<fs::path> indices;  // *.safetensors.index.json
  std::vector<fs::path> files;    // *.safetensors
  std::vector<fs::path> gguf;
  std::vector<fs::path> pickles;
};

Listing list(const fs::path& folder) {
  Listing listing;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (starts_with(name, ".")) continue;
    if (ends_with(name, ".safetensors.index.json")) listing.indices.push_back(entry->path());
    if (ends_with(name, ".safetensors")) listing.files.push_back(entry->path());
    if (ends_with(name, ".gguf")) listing.gguf.push_back(entry->path());
    if (has_pickle_extension(entry->path())) listing.pickles.push_back(entry->path());
  }
  if (error)
    throw ModelError(str("[", folder.string(), "] expected a folder that can be read, got: ", error.message()));
  for (auto* paths : {&listing.indices, &listing.files, &listing.gguf, &listing.pickles})
    std::sort(paths->begin(), paths->end());
  return listing;
}

std::string names_of(const std::vector<fs::path>& paths) {
  std::vector<std::string> names;
  for (const fs::path& path : paths) names.push_back(path.filename().string());
  return join(names, ", ");
}

struct ShardName {
  std::string stem;  // with the count, without the number
  size_t number;
  size_t count;
};

// "model-00002-of-00004.safetensors"
std::optional<ShardName> parse_shard_name(const std::string& name) {
  static constexpr std::string_view kPattern = "-ddddd-of-ddddd.safetensors";
  if (name.size() < kPattern.size()) return std::nullopt;
  const size_t start = name.size() - kPattern.size();
  for (size_t i = 0; i < kPattern.size(); ++i) {
    const char c = name[start + i];
    const bool is_pattern_digit = kPattern[i] == 'd' && i < 15;
    if (is_pattern_digit ? !std::isdigit(static_cast<unsigned char>(c)) : c != kPattern[i]) return std::nullopt;
  }
  return ShardName{name.substr(0, start) + name.substr(start + 6), std::stoul(name.substr(start + 1, 5)),
                   std::stoul(name.substr(start + 10, 5))};
}

void check_shards_are_complete(const fs::path& folder, const std::vector<fs::path>& files) {
  std::map<std::string, std::pair<size_t, size_t>> seen_of_count;
  for (const fs::path& file : files) {
    if (const auto shard = parse_shard_name(file.filename().string())) {
      seen_of_count[shard->stem].first += 1;
      seen_of_count[shard->stem].second = shard->count;
    }
  }
  for (const auto& [stem, counts] : seen_of_count) {
    if (counts.first == counts.second) continue;
    throw ModelError(str("[", folder.string(), "] expected ", counts.second, " shards ...", stem, ", got ",
                         counts.first, " (try downloading the rest)"));
  }
}

}  // namespace

WeightFolder search_weight_folder(const fs::path& folder) {
  const Listing listing = list(folder);
  const auto choose = [&](const std::string& base) -> std::optional<WeightFolder> {
    const fs::path file = folder / (base + ".safetensors");
    if (std::count(listing.files.begin(), listing.files.end(), file)) return WeightFolder{{}, {file}};
    const fs::path index = folder / (base + ".safetensors.index.json");
    if (std::count(listing.indices.begin(), listing.indices.end(), index)) return WeightFolder{index, {}};
    return std::nullopt;
  };
  const auto transformers = choose("model"), diffusers = choose("diffusion_pytorch_model");
  if (transformers && diffusers) {
    throw ModelError(str("[", folder.string(), "] expected one model, got both model.safetensors and ",
                         "diffusion_pytorch_model.safetensors or their indices (try naming the file)"));
  }
  if (transformers) return *transformers;
  if (diffusers) return *diffusers;
  if (listing.indices.size() == 1) return {listing.indices[0], {}};
  if (listing.indices.size() > 1) {
    throw ModelError(str("[", folder.string(), "] expected one index, got ", names_of(listing.indices),
                         " (try naming the one you mean)"));
  }
  if (!listing.files.empty()) {
    check_shards_are_complete(folder, listing.files);
    return {{}, listing.files};
  }
  if (listing.gguf.size() == 1) return {{}, listing.gguf};
  if (listing.gguf.size() > 1) {
    throw ModelError(str("[", folder.string(), "] expected one GGUF file, got ", names_of(listing.gguf),
                         " (try naming the one you mean)"));
  }
  if (!listing.pickles.empty()) refuse_pickle(listing.pickles[0]);
  if (fs::exists(folder / "index.json")) {
    throw ModelError(str("[", folder.string(),
                         "] expected *.safetensors files, got a checkpoint of a run (try `millrace ",
                         "export` first)"));
  }
  const fs::path original = folder / "original";  // where folders of Llama have Meta's own files
  std::error_code ignored;
  const Listing of_meta = fs::is_directory(original, ignored) ? list(original) : Listing();
  if (!of_meta.pickles.empty()) refuse_pickle(of_meta.pickles[0]);
  throw ModelError(str("[", folder.string(), "] expected *.safetensors files, got a folder without any"));
}

std::map<std::string, std::string> parse_weight_map(std::string_view text, std::string_view place) {
  const nlohmann::json index = parse_json<ModelError>(text, place);
  const auto weight_map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || weight_map == index.end() || !weight_map->is_object()) {
    throw ModelError(str("[", place, "] expected an index json with an object \"weight_map\", got none"));
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : weight_map->items()) {
    const auto fail = [&, &key = name](const std::string& expected, const std::string& got) {
      throw ModelError(
          str("[", place, ", weight_map of \"", json_escape(key), "\"] expected ", expected, ", got ", got));
    };
    if (!file.is_string()) fail("a file name", file.type_name());
    const auto& file_name = file.get_ref<const std::string&>();
    if (has_pickle_extension(file_name)) fail("a safetensors file (pickles can run any code)", file_name);
    if (!ends_with(file_name, ".safetensors") || file_name.find_first_of("/\\") != std::string::npos ||
        starts_with(file_name, ".")) {
      fail("the plain name of a *.safetensors file", in_quotes(file_name));
    }
    files.emplace(name, file_name);
  }
  return files;
}

std::map<std::string, std::string> read_weight_map(const fs::path& index) {
  return parse_weight_map(read_file(index, kMaxIndexBytes), index.string());
}

}  // namespace millrace
