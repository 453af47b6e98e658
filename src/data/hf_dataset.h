// Data sets of Hugging Face `datasets` on disk: which Arrow files they consist of, and the two JSON files beside them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/arrow_writer.h"

namespace millrace {

// The Arrow files, in order: of a folder saved with save_to_disk (the order of state.json's _data_files; without
// state.json its *.arrow by name), one .arrow file, or what a glob matches ("/dataset/cc12m_preprocessed/*", as the
// MLPerf README writes it; of a folder among the matches, its files). Throws DataError when there is none, and for a
// DatasetDict, whose splits are named; and, if it must be whole, for a folder that lacks a file which state.json names
// or, without it, the numbers in the names call for.
std::vector<std::filesystem::path> list_hf_dataset(const std::string& path, bool must_be_whole = true);

// Whether a folder is such a data set, or one of splits: it holds *.arrow (hidden ones do not count), state.json or
// dataset_dict.json. False for what is no folder, or cannot be read.
bool holds_hf_dataset(const std::filesystem::path& folder);

// Throws DataError where a file that this state.json names is not beside it.
void check_hf_files(const std::filesystem::path& state);

struct HfDataFile {
  std::string name;  // in the folder: "data-00000-of-00002.arrow"
  int64_t rows = 0;
  uint64_t bytes = 0;
};

// "data-00003-of-00012.arrow"
std::string hf_data_file_name(int64_t index, int64_t count);

// Writes dataset_info.json and, last, state.json: datasets.load_from_disk(folder) opens it. The same files give the
// same fingerprint. The files themselves must be there. split: "train"; empty: none.
void finish_hf_dataset(const std::filesystem::path& folder, const std::vector<ArrowColumnSpec>& columns,
                       const std::vector<HfDataFile>& files, const std::string& split = "");

}  // namespace millrace
