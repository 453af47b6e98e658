#include "inspect_texts.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <system_error>

#include "base/error.h"
#include "base/text.h"
#include "command_line.h"
#include "picture_sets/read_document.h"
#include "tasks/task_table.h"

namespace millrace {

bool is_run_configuration(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!ends_with(path.string(), ".toml") || !std::filesystem::is_regular_file(path, ignored)) return false;
  const PlacedValue document = read_document(path);
  return document.find("model") != nullptr && document.find("datasets") == nullptr;
}

bool is_rows_of_text(const std::filesystem::path& path) {
  constexpr std::array kEndings = {".jsonl", ".ndjson", ".csv", ".parquet"};
  std::error_code ignored;
  return std::ranges::find(kEndings, to_lower(path.extension().string())) != kEndings.end() &&
         std::filesystem::is_regular_file(path, ignored);
}

int inspect_texts(const std::vector<std::string>& args) {
  ArgumentParser app{
      "Shows the data set of a language model's configuration as a run would see it: rows, tokens, what is cut, what "
      "is\n"
      "trained, and a row. Options of the configuration may follow, such as --finetune.max_seq_len=512; a file of "
      "rows\n"
      "needs --finetune.tokenizer, and --finetune.rows unless they are of messages",
      "millrace inspect"};
  std::string path;
  bool as_json = false, is_validation = false;
  std::vector<std::string> overrides;
  app.add_option("file", path, "The configuration (TOML), or a file of rows");
  app.add_flag("--json", as_json, "Print JSON");
  app.add_flag("--validation", is_validation, "The rows to validate on, not those to train on");
  if (!parse_with_overrides(app, args, overrides)) return static_cast<int>(ExitCode::kDone);
  const bool has_sections = is_run_configuration(path);
  if (!has_sections && !path.empty()) overrides.insert(overrides.begin(), "--finetune.data=" + path);
  if (!has_sections) overrides.insert(overrides.begin(), "--model.name=llama");
  const std::unique_ptr<RunConfig> config = load_task_config(has_sections ? path : "", overrides);
  const TextDataSummary summary = summarise_text_data(*config, is_validation);
  const std::string text = as_json ? summary_json(summary) + "\n" : summary_text(summary, ::isatty(STDOUT_FILENO) != 0);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
