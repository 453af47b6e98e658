// The kinds of data sets that a configuration can name: torchtitan's and MLPerf's names, and three of our own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

struct DatasetKind {
  const char* name;
  bool is_encoded;                 // samples are already encoded
  bool needs_timesteps;            // every sample carries its validation timestep
  int64_t subset_size;             // use only the first samples, this many; 0: all
  const char* default_path;        // where the reference expects it; "": a path must be given
  bool is_synthetic = false;       // needs no files
  bool is_for_validation = false;  // not for training
  bool is_picture_set = false;     // pictures in folders, not samples in files
};

// Throws ConfigError for an unknown name.
const DatasetKind& find_dataset_kind(const std::string& name);
// The values allowed for training.dataset, and for validation.dataset (where empty is allowed too).
std::vector<const char*> training_dataset_names();
std::vector<const char*> validation_dataset_names();

}  // namespace millrace
