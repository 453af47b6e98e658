#include "prepare/encode/output_folder.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/temporary_files.h"
#include "data/hf_dataset.h"
#include "diffusion/encoder_identity.h"
#include "formats/json.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kResult = "result";  // key in the manifest, once finished
constexpr const char* kNotes = ".units";   // a folder; removed when the work is done

nlohmann::ordered_json to_json(const UnitReport& report) {
  return {{"rows", report.rows}, {"bad", report.bad}, {"small", report.small}, {"problems", report.problems}};
}

UnitReport from_json(const nlohmann::ordered_json& json, const fs::path& file) {
  try {
    return {json.at("rows").get<int64_t>(), json.at("bad").get<int64_t>(), json.at("small").get<int64_t>(),
            json.at("problems").get<std::vector<std::string>>()};
  } catch (const nlohmann::json::exception& error) {
    throw StorageError(str("[", file.string(), "] expected what became of a file's samples, got: ", error.what()));
  }
}

}  // namespace

fs::path EncodingsFolder::file_of(int64_t unit) const {
  return folder_ / hf_data_file_name(unit, num_units_);
}
fs::path EncodingsFolder::note_of(int64_t unit) const {
  return folder_ / kNotes / str(unit, ".json");
}
bool EncodingsFolder::is_finished(int64_t unit) const {
  return fs::exists(file_of(unit));
}
bool EncodingsFolder::is_complete() const {
  if (!fs::exists(folder_ / "state.json")) return false;
  for (int64_t unit = 0; unit < num_units_; ++unit) {
    if (is_finished(unit)) continue;
    throw StorageError(str("[", file_of(unit).string(), "] expected a file of a complete data set, got none (bring it ",
                           "back, or encode into another folder)"));
  }
  return true;
}

void EncodingsFolder::claim(const nlohmann::ordered_json& manifest) const {
  const fs::path file = folder_ / kEncodingsManifest;
  if (fs::exists(folder_) && !fs::is_directory(folder_)) {
    throw ConfigError(str("[", folder_.string(), "] expected a folder to write to, got a file"));
  }
  if (fs::exists(file)) {
    nlohmann::ordered_json found = read_encodings_manifest(file);
    found.erase(kResult);
    std::string difference = describe_difference(manifest, found);
    const bool same = nlohmann::json(manifest) == nlohmann::json(found);  // whatever the order of the keys
    if (difference.empty() && !same) difference = "expected the same keys, got others";
    if (!difference.empty()) {
      throw ConfigError(
          str("[", file.string(), "] ", difference,
              " (the folder holds encodings made with other settings: use the same settings, or another folder)"));
    }
  } else if (fs::exists(folder_) && !fs::is_empty(folder_)) {
    throw ConfigError(str("[", folder_.string(), "] expected an empty folder, or one that this command began to fill (",
                          kEncodingsManifest, "), got other files"));
  } else {
    create_folders(folder_);
    write_file_atomically(file, manifest.dump(2) + "\n");
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    if (entry.is_regular_file() && is_temporary_name(entry.path().filename().string())) fs::remove(entry.path());
  }
  if (is_complete()) {
    fs::remove_all(folder_ / kNotes);
  } else {
    create_folders(folder_ / kNotes);
  }
}

void EncodingsFolder::note(int64_t unit, const UnitReport& report) const {
  write_file_atomically(note_of(unit), to_json(report).dump() + "\n");
}

UnitReport EncodingsFolder::report_of(int64_t unit) const {
  constexpr uint64_t kMaxBytes = 16 << 20;
  const fs::path file = note_of(unit);
  return from_json(parse_json<DataError>(read_file(file, kMaxBytes), file.string()), file);
}

UnitReport EncodingsFolder::finish(const nlohmann::ordered_json& manifest) const {
  if (is_complete())
    return from_json(read_encodings_manifest(folder_ / kEncodingsManifest).at(kResult), folder_ / kEncodingsManifest);
  UnitReport total;
  std::vector<HfDataFile> files;
  for (int64_t unit = 0; unit < num_units_; ++unit) {
    const UnitReport report = report_of(unit);
    total.rows += report.rows;
    total.bad += report.bad;
    total.small += report.small;
    for (const std::string& problem : report.problems) {
      if (total.problems.size() < kMaxProblems) total.problems.push_back(problem);
    }
    const fs::path file = file_of(unit);
    files.push_back({file.filename().string(), report.rows, static_cast<uint64_t>(fs::file_size(file))});
  }
  nlohmann::ordered_json complete = manifest;
  complete[kResult] = to_json(total);
  write_file_atomically(folder_ / kEncodingsManifest, complete.dump(2) + "\n");
  if (total.rows == 0) {
    throw DataError(str("[", folder_.string(), "] expected usable samples, got none of ", total.bad + total.small,
                        total.problems.empty() ? "" : ": " + total.problems.front()));
  }
  finish_hf_dataset(folder_, encoding_columns(), files, "train");
  fs::remove_all(folder_ / kNotes);
  return total;
}

}  // namespace millrace
