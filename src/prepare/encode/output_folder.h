// The folder that encodings are written to: what it was made from, which of its files are finished, and its end.
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

  // One process calls this before the work: makes the folder and its manifest, or finds them again. Removes what a
  // killed run left under temporary names. Throws ConfigError where the manifest differs, or the folder holds other
  // files.
  void claim(const nlohmann::ordered_json& manifest) const;
  std::filesystem::path file_of(int64_t unit) const;
  bool is_finished(int64_t unit) const;
  // Notes what became of a unit, just before its file gets its name.
  void note(int64_t unit, const UnitReport& report) const;
  UnitReport report_of(int64_t unit) const;

  // All units are finished: writes the totals into the manifest, then dataset_info.json and state.json. Doing it again
  // changes nothing.
  UnitReport finish(const nlohmann::ordered_json& manifest) const;
  // As its last file says. Throws StorageError where another file has gone since.
  bool is_complete() const;

 private:
  std::filesystem::path note_of(int64_t unit) const;
  std::filesystem::path folder_;
  int64_t num_units_;
};

}  // namespace millrace
