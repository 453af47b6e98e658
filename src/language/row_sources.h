// Which files hold the rows of a data set: a file, a folder, or a data set of Hugging Face's hub on this machine.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "language/row_file.h"

namespace millrace {

// The files of one split, sorted. source: a file; files by a pattern, data/*.jsonl; a folder; or OWNER/NAME, whose
// files are in ./NAME, where `millrace download dataset OWNER/NAME` puts them, or in Hugging Face's cache
// (HF_HUB_CACHE, HF_HOME, ~/.cache/huggingface). In a folder, files of rows whose path has the split's name in it as a
// word (train-00000-of-00002.parquet, data/train.jsonl) or, where no path has the name of any split, all of them.
// split: "" for train. kind: of the files that a folder is searched for; nullopt: any, but for text. Throws DataError
// where there are none; for a data set of the hub it says how to fetch it.
std::vector<std::filesystem::path> find_row_files(const std::string& source, std::string_view split,
                                                  std::optional<RowFileKind> kind = std::nullopt);

}  // namespace millrace
