// The rows of a data set: those of several files one after the other, or a part of them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "language/row_file.h"
#include "language/split_slices.h"

namespace millrace {

// Safe to read from several threads.
class RowSet {
 public:
  // field: see RowFile. split: see parse_split(); "": all rows. Throws ConfigError for files of another kind and for
  // splits that are none, StorageError and DataError as RowFile does.
  RowSet(const std::vector<std::string>& files, const std::string& field, const std::string& split);

  int64_t size() const { return size_; }
  void keep_first(int64_t count);  // and forget the others
  // index in [0, size()). Throws DataError naming file and line.
  nlohmann::ordered_json row(int64_t index) const;
  std::string place(int64_t index) const;  // file:line

 private:
  struct Position {
    const RowFile* file;
    int64_t row;
  };
  Position position(int64_t index) const;

  std::vector<std::unique_ptr<RowFile>> files_;
  std::vector<RowRange> ranges_;  // of the rows of all files
  int64_t size_ = 0;
};

}  // namespace millrace
