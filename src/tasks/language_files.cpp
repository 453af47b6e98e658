#include "tasks/language_files.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/gguf.h"
#include "formats/json.h"
#include "formats/weight_store.h"
#include "language/model_tokenizer.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;
constexpr const char* kRepositoryFile = "original_repo_id.json";  // torchtune's name
constexpr const char* kOriginal = "original";                     // where Meta's own files are in a folder of Llama

constexpr std::array kTokenizerFiles = {"tokenizer.json",
                                        "tokenizer.model",
                                        "tokenizer_config.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "added_tokens.json",
                                        "chat_template.jinja",
                                        "chat_template.json",
                                        "special_tokens_map.json",
                                        "original/tokenizer.model"};
constexpr std::array kModelFiles = {"LICENSE",    "LICENSE.txt",   "LICENSE.md",  "NOTICE",
                                    "NOTICE.txt", "USE_POLICY.md", "params.json", "original/params.json"};
constexpr std::array kSpecialIds = {"bos_token_id", "eos_token_id", "pad_token_id"};

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

fs::path folder_of(const fs::path& path) {
  if (path.empty()) return {};
  std::error_code ignored;
  return fs::is_directory(path, ignored) ? path : fs::absolute(path).parent_path();
}

bool is_gguf(const fs::path& path) {
  return to_lower(path.extension().string()) == ".gguf";
}

// Weights that say their own sizes; a folder may hold one such file.
std::optional<std::string> sizes_in_weights(const LanguageOrigin& origin) {
  const fs::path& path = is_gguf(origin.config) ? origin.config : origin.weights;
  std::error_code ignored;
  if (path.empty() || !fs::exists(path, ignored)) return std::nullopt;
  return WeightStore(path).config_json();
}

std::optional<fs::path> config_file(const LanguageOrigin& origin) {
  if (!origin.config.empty()) {
    return origin.config.extension() == ".json" ? std::optional(origin.config) : std::nullopt;
  }
  const fs::path beside = folder_of(origin.weights) / "config.json";
  return !origin.weights.empty() && is_file(beside) ? std::optional(beside) : std::nullopt;
}

void add_files(const fs::path& folder, std::span<const char* const> names, std::vector<Companion>& files) {
  if (folder.empty()) return;
  for (const char* name : names) {
    if (is_file(folder / name)) files.push_back({name, folder / name, ""});
  }
}

// torchtune is given MODEL/original/tokenizer.model; MODEL has the same vocabulary in Hugging Face's form.
fs::path tokenizer_folder(const fs::path& tokenizer) {
  const fs::path folder = folder_of(tokenizer);
  const fs::path model = folder.parent_path();
  return folder.filename() == kOriginal && is_file(model / "tokenizer.json") ? model : folder;
}

// As transformers needs it: without a class, it takes that of the model, which splits words by rules of its own.
nlohmann::ordered_json carried_config(const GgufTokenizer& carried) {
  nlohmann::ordered_json config = carried.config;
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  config["clean_up_tokenization_spaces"] = false;
  config["model_input_names"] = {"input_ids", "attention_mask"};
  return config;
}

// Nothing for a GGUF file without a tokenizer, or with one that is not had.
std::optional<GgufTokenizer> tokenizer_in_weights(const LanguageOrigin& origin) {
  if (!origin.tokenizer.empty()) return carried_tokenizer(origin.tokenizer);
  try {
    return carried_tokenizer(origin.weights);
  } catch (const ModelError& error) {
    log_warning("no tokenizer is written: ", error.what());
    return std::nullopt;
  }
}

std::optional<Companion> generation_config(const LanguageOrigin& origin) {
  constexpr const char* kName = "generation_config.json";
  for (const fs::path& folder : {folder_of(origin.weights), tokenizer_folder(origin.tokenizer)}) {
    if (!folder.empty() && is_file(folder / kName)) return Companion{kName, folder / kName, ""};
  }
  if (config_file(origin)) return std::nullopt;  // which has the ids
  const std::optional<std::string> sizes = sizes_in_weights(origin);
  if (!sizes) return std::nullopt;
  const auto theirs = parse_ordered_json<ModelError>(*sizes, origin.weights.string());
  nlohmann::ordered_json ids;
  for (const char* key : kSpecialIds) {
    if (theirs.contains(key)) ids[key] = theirs[key];
  }
  if (ids.empty()) return std::nullopt;
  return Companion{kName, "", ids.dump(2) + "\n"};
}

}  // namespace

bool is_language_model(const ModelEntry& entry) {
  return std::string_view(entry.name) == "llama";
}

std::string language_config_json(const LanguageOrigin& origin, const std::string& sizes) {
  if (const std::optional<fs::path> file = config_file(origin)) {
    return parse_ordered_json<ModelError>(read_file(*file, kMaxConfigBytes), file->string()).dump(2) + "\n";
  }
  auto json = parse_ordered_json<ModelError>(sizes, "the model's sizes");
  if (const std::optional<std::string> own = sizes_in_weights(origin)) {
    const auto theirs = parse_ordered_json<ModelError>(*own, origin.weights.string());
    for (const char* key : kSpecialIds) {
      if (theirs.contains(key)) json[key] = theirs[key];
    }
  }
  return json.dump(2) + "\n";
}

void note_repository(const fs::path& folder, const std::string& repository) {
  write_file_atomically(folder / kRepositoryFile, nlohmann::json{{"repo_id", repository}}.dump() + "\n");
}

std::string repository_of(const fs::path& weights) {
  const fs::path file = folder_of(weights) / kRepositoryFile;
  if (weights.empty() || !is_file(file)) return "";
  const auto json = parse_ordered_json<ModelError>(read_file(file, kMaxConfigBytes), file.string());
  const auto found = json.is_object() ? json.find("repo_id") : json.end();
  if (json.is_object() && (found == json.end() || found->is_null())) return "";
  if (!json.is_object() || !found->is_string()) {
    throw ModelError("[" + file.string() + "] expected {\"repo_id\": \"OWNER/NAME\"}, got another value");
  }
  return found->get<std::string>();
}

std::vector<Companion> language_companions(const LanguageOrigin& origin) {
  std::vector<Companion> files;
  if (const std::optional<GgufTokenizer> carried = tokenizer_in_weights(origin)) {
    files.push_back({"tokenizer.json", "", carried->tokenizer.dump()});
    files.push_back({"tokenizer_config.json", "", carried_config(*carried).dump(2) + "\n"});
  } else {
    add_files(origin.tokenizer.empty() ? folder_of(origin.weights) : tokenizer_folder(origin.tokenizer),
              kTokenizerFiles, files);
  }
  if (std::optional<Companion> generation = generation_config(origin)) files.push_back(std::move(*generation));
  add_files(folder_of(origin.weights), kModelFiles, files);
  return files;
}

void add_language_files(ExportedModel& exported, const LanguageOrigin& origin) {
  const std::string sizes = exported.model.config_json(Naming::kHuggingFace).value_or("{}");
  exported.config_json = language_config_json(origin, sizes);
  exported.companions = language_companions(origin);
}

}  // namespace millrace
