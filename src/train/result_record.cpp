#include "train/result_record.h"

#include <map>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/error.h"
#include "base/files.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct Result {
  int64_t step = 0;
  std::map<std::string, uint64_t> bytes;  // of each file, by its path in the run's folder
};
using Record = std::map<std::string, Result>;

fs::path path_of(const fs::path& run_folder) {
  return run_folder / "results.json";
}

// Nothing where there is none, or none that can be read: the results are then written once more.
Record read_record(const fs::path& run_folder) {
  std::error_code ignored;
  if (!fs::exists(path_of(run_folder), ignored)) return {};
  try {
    Record record;
    const auto json = nlohmann::json::parse(read_file(path_of(run_folder)));
    for (const auto& [name, result] : json.items()) {
      record[name] = {.step = result.at("step").get<int64_t>(),
                      .bytes = result.at("files").get<std::map<std::string, uint64_t>>()};
    }
    return record;
  } catch (const nlohmann::json::exception&) {
    return {};
  } catch (const Error&) {
    return {};
  }
}

void write_record(const fs::path& run_folder, const Record& record) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, result] : record) json[name] = {{"step", result.step}, {"files", result.bytes}};
  write_file_atomically(path_of(run_folder), json.dump(2) + "\n");
}

bool is_there(const fs::path& file, uint64_t bytes) {
  std::error_code error;
  const uint64_t found = fs::file_size(file, error);
  return !error && (found == bytes || file.extension() != ".safetensors");
}

}  // namespace

void note_result(const fs::path& run_folder, const std::string& name, int64_t step,
                 const std::vector<fs::path>& files_and_folders) {
  Result result{.step = step, .bytes = {}};
  const auto add = [&](const fs::path& file) {
    result.bytes[file.lexically_relative(run_folder).string()] = fs::file_size(file);
  };
  try {
    for (const fs::path& path : files_and_folders) {
      if (!fs::is_directory(path)) {
        add(path);
        continue;
      }
      for (const fs::directory_entry& entry : fs::recursive_directory_iterator(path)) {
        if (entry.is_regular_file()) add(entry.path());
      }
    }
  } catch (const fs::filesystem_error& error) {
    throw StorageError(std::string("[results.json] expected the files that were written, got: ") + error.what());
  }
  Record record = read_record(run_folder);
  record[name] = std::move(result);
  write_record(run_folder, record);
}

bool has_result(const fs::path& run_folder, const std::string& name, int64_t step) {
  const Record record = read_record(run_folder);
  const auto found = record.find(name);
  if (found == record.end() || found->second.step < step) return false;
  for (const auto& [file, bytes] : found->second.bytes) {
    if (!is_there(run_folder / file, bytes)) return false;
  }
  return true;
}

bool has_step_results(const RunConfig& config, const Progress& progress) {
  const fs::path folder = config.job.dump_folder;
  return has_result(folder, kStepResult, progress.step) &&
         (!is_kept_best(progress, config) || has_result(folder, kBestResult, progress.step));
}

void forget_results_after(const fs::path& run_folder, int64_t step) {
  Record record = read_record(run_folder);
  if (std::erase_if(record, [&](const auto& item) { return item.second.step > step; }) > 0) {
    write_record(run_folder, record);
  }
}

}  // namespace millrace
