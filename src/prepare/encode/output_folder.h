// The folder that encodings are written to: its manifest, its finished files, and its completion.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "prepare/encode/unit_encoder.h"

namespace millrace {

class EncodingsFolder {
 public:
  EncodingsFolder(std::filesystem::path folder, int64_t num_units)
      : folder_(std::move(folder)), num_units_(num_units) {}

  // One process calls this before the work: creates the folder and its manifest, or reopens them. Removes temporary
  // files of a killed run. Throws ConfigError if the manifest differs or the folder holds other
  // files.
  void claim(const nlohmann::ordered_json& manifest) const;
  std::filesystem::path file_of(int64_t unit) const;
  bool is_finished(int64_t unit) const;
  // Records a unit's result, just before its file gets its name.
  void note(int64_t unit, const UnitReport& report) const;
  UnitReport report_of(int64_t unit) const;

  // All units are finished: writes the totals into the manifest, then dataset_info.json and state.json. Idempotent.
  UnitReport finish(const nlohmann::ordered_json& manifest) const;
  // Whether its last file exists. Throws StorageError if another file is missing.
  bool is_complete() const;

 private:
  std::filesystem::path note_of(int64_t unit) const;
  std::filesystem::path folder_;
  int64_t num_units_;
};

}  // namespace millrace
