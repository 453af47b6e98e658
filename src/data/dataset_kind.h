// The kinds of data sets that a configuration can name: torchtitan's and MLPerf's names, and two of our own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

struct DatasetKind {
  const char* name;
  bool is_encoded;                 // samples were encoded beforehand
  bool needs_timesteps;            // every sample carries its validation timestep
  int64_t subset_size;             // only so many of its samples; 0: all
  const char* default_path;        // where the reference expects it; "": nowhere, a path must be given
  bool is_synthetic = false;       // needs no files at all
  bool is_for_validation = false;  // and not for training
};

// Throws ConfigError for an unknown name.
const DatasetKind& find_dataset_kind(const std::string& name);
// The names that training.dataset may have; those of validation.dataset, which may also be empty.
std::vector<const char*> training_dataset_names();
std::vector<const char*> validation_dataset_names();

}  // namespace millrace
