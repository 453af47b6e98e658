// sd-scripts' arguments of data sets, and its data sets without a file: folders whose names say it all.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "picture_sets/resolve.h"

namespace millrace {

struct DatasetArguments {
  ResolveSettings settings;       // of options such as --train_batch_size 4, and --masked_loss
  std::string dataset_config;     // --dataset_config; empty: not given, as below
  std::string train_data_dir;     // --train_data_dir
  std::string reg_data_dir;       // --reg_data_dir
  std::string in_json;            // --in_json: metadata of the pictures in train_data_dir
  std::vector<std::string> rest;  // every other word, in order
};
// `--name VALUE` or `--name=VALUE`. Throws ConfigError for a value that is missing or of a wrong type.
DatasetArguments parse_dataset_arguments(const std::vector<std::string>& args);
// "--train_batch_size" and the others that it takes.
std::vector<std::string> dataset_argument_names();

// One data set of the sub-folders of both folders, "N_words": N repeats of its pictures, whose caption is "words" where
// they have none of their own. Sub-folders come sorted by name, regularisation pictures last. Those that do not begin
// with a number above 0 go into ignored. An empty path: no folder. Throws DataError for one that is not there, and
// where train_data_dir has no such sub-folder.
PlacedValue folder_document(const std::filesystem::path& train_data_dir, const std::filesystem::path& reg_data_dir,
                            std::vector<std::string>& ignored);

// Whether a sub-folder named so has pictures.
bool has_picture_folders(const std::filesystem::path& folder);

// What is said of an ignored one.
std::string ignored_folder_text(const std::string& folder);

// The same as with --in_json: one subset with a metadata file.
PlacedValue metadata_document(const std::string& image_dir, const std::string& metadata_file);

}  // namespace millrace
