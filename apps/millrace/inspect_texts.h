// `millrace inspect` of the configuration of a language model's run, or of rows alone: the data set as a run would see
// it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

// A file with a training run's sections, and not a data set of pictures.
bool is_run_configuration(const std::filesystem::path& path);

// A file of rows, which no other part of `inspect` reads: .jsonl, .ndjson, .csv or .parquet.
bool is_rows_of_text(const std::filesystem::path& path);

// args: of `inspect`; options of the configuration may follow. Returns the exit status.
int inspect_texts(const std::vector<std::string>& args);

}  // namespace millrace
