// Data sets of Hugging Face `datasets` on disk: their Arrow files, and the two JSON files beside them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/arrow_writer.h"

namespace millrace {

// The Arrow files, in order: of a folder saved with save_to_disk (the order of state.json's _data_files; without
// state.json its *.arrow by name), one .arrow file, or what a glob matches ("/dataset/cc12m_preprocessed/*", as the
// MLPerf README writes it; a matching folder stands for its files). Throws DataError when there are none, and for a
// DatasetDict, naming its splits. If the data set must be whole, also throws it for a folder that lacks a file listed
// in state.json or, without state.json, implied by the numbers in the names.
std::vector<std::filesystem::path> list_hf_dataset(const std::string& path, bool must_be_whole = true);

// Whether path is a folder with such a data set or with its splits: it holds *.arrow (not hidden), state.json or
// dataset_dict.json. False if it is not a folder or cannot be read.
bool holds_hf_dataset(const std::filesystem::path& folder);

// Throws DataError if a file listed in this state.json is not beside it.
void check_hf_files(const std::filesystem::path& state);

struct HfDataFile {
  std::string name;  // its name in the folder: "data-00000-of-00002.arrow"
  int64_t rows = 0;
  uint64_t bytes = 0;
};

// "data-00003-of-00012.arrow"
std::string hf_data_file_name(int64_t index, int64_t count);

// Writes dataset_info.json and, last, state.json, so that datasets.load_from_disk(folder) works. The same files give
// the same fingerprint. The files themselves must exist. split: "train"; empty: none.
void finish_hf_dataset(const std::filesystem::path& folder, const std::vector<ArrowColumnSpec>& columns,
                       const std::vector<HfDataFile>& files, const std::string& split = "");

}  // namespace millrace
