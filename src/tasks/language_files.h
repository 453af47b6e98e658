// What makes a folder of weights a language model for Hugging Face's libraries and for servers: its config.json, with
// the ids that begin and end a text, the tokenizer's files, and how it generates.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "models/model_table.h"
#include "tasks/adapter_export.h"
#include "tasks/export_run.h"

namespace millrace {

// Where weights came from. All but weights may be empty; weights are empty for a model that began at random.
struct LanguageOrigin {
  std::filesystem::path weights = {};    // a folder, the index in one, or a file
  std::filesystem::path config = {};     // what the sizes were read from; empty: the file beside the weights
  std::filesystem::path tokenizer = {};  // a folder or a file; empty: beside the weights, or in them
};

bool is_language_model(const ModelEntry& entry);

// config.json word for word, in its order. Where the sizes are in another kind of file: sizes, which is a config.json
// itself, with the special tokens' ids that a GGUF file has.
std::string language_config_json(const LanguageOrigin& origin, const std::string& sizes);

// Where weights were downloaded from: original_repo_id.json beside them, as torchtune leaves it. repository:
// OWNER/NAME;
// "" without that note.
void note_repository(const std::filesystem::path& folder, const std::string& repository);
std::string repository_of(const std::filesystem::path& weights);

// The tokenizer's files, all of one folder, and what else belongs to the model beside the weights: how to generate, its
// licence, Meta's own sizes. Of a GGUF file, what it carries.
std::vector<Companion> language_companions(const LanguageOrigin& origin);

// Both, for weights that are not a run's.
void add_language_files(ExportedModel& exported, const LanguageOrigin& origin);

}  // namespace millrace
