// `millrace inspect` of data sets of pictures and of files of prompts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "picture_sets/dataset_arguments.h"

namespace millrace {

struct PictureInspectOptions {
  bool as_json = false;
  bool per_image = false;
  bool headers_only = false;       // leave out what takes decoding
  bool sd_scripts_limits = false;  // refuse what sd-scripts' FLUX LoRA trainer refuses
  int64_t num_captions = 0;
  int64_t seed = 0;
  std::string sheet;  // a PNG to write; empty: none
  int num_threads = 1;

  bool any() const { return per_image || headers_only || sd_scripts_limits || num_captions != 0 || !sheet.empty(); }
};

// Whether a file is one of these by its name and, for JSON, by what is in it.
bool is_picture_set_file(const std::filesystem::path& path);
bool is_prompt_file(const std::filesystem::path& path);

// As they are trained when training.dataset_path is folder (picture_sets/open_picture_sets.h); its pictures' size is
// --resolution among arguments, or that of training.
DatasetArguments arguments_of_folder(const std::filesystem::path& folder, DatasetArguments arguments);

// Prints the report. path: a data set file; empty: arguments say where the pictures are.
void inspect_picture_sets(const std::string& path, const DatasetArguments& arguments,
                          const PictureInspectOptions& options);
void inspect_prompts(const std::string& path, bool as_json);

}  // namespace millrace
