// The rows of a data set: those of several sources one after the other, or a part of them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "formats/split_slices.h"
#include "language/row_file.h"

namespace millrace {

// Safe to read from several threads.
class RowSet {
 public:
  // sources: see find_row_files(). form: of all files. split: see parse_split(), of the rows of all sources; "": all
  // rows. weights: how often the rows of each source occur, none: once; with 0.5, every second row occurs. Throws
  // ConfigError for unknown kinds of files and for invalid splits and weights; otherwise as find_row_files() and
  // RowFile.
  RowSet(const std::vector<std::string>& sources, const RowFileForm& form, const std::string& split,
         const std::vector<double>& weights = {});
  // Several sets as one: the rows of the first, then those of the second.
  explicit RowSet(std::vector<RowSet> parts);

  int64_t size() const { return size_; }
  void keep_first(int64_t count);  // and forget the others
  // index in [0, size()). Throws DataError naming file and line.
  nlohmann::ordered_json row(int64_t index) const;
  std::string place(int64_t index) const;  // file:line
  // Which of the parts the row is of, and the index behind the last row of each; one part where it was made of files.
  size_t part(int64_t index) const;
  std::vector<int64_t> part_ends() const;
  // Rows that occur several times are one here: which of num_distinct() a row is. Never falls with the index.
  int64_t distinct(int64_t index) const;
  int64_t num_distinct() const { return size_ == 0 ? 0 : distinct(size_ - 1) + 1; }
  // A checksum of the files' contents and of which rows they give, in which order; not of where the files lie.
  uint64_t digest(ThreadPool& pool) const;
  void forget_read() const;  // see RowFile
  // As RowFile, for rows of any files.
  HeldRows hold(int64_t begin, int64_t end) const;
  // The same. Returns the files in the folder that the rows are now read from.
  std::vector<std::filesystem::path> unpack(const std::filesystem::path& folder, ThreadPool& pool);

 private:
  struct Position {
    const RowFile* file;
    int64_t row;
  };
  Position position(int64_t index) const;
  int64_t num_unweighted() const;
  void apply(const std::vector<double>& weights, const std::vector<int64_t>& ends);

  // One of the two.
  std::vector<RowSet> parts_;
  std::vector<std::unique_ptr<RowFile>> files_;
  std::vector<RowRange> ranges_;   // of the rows of all files
  std::vector<int64_t> weighted_;  // with weights: the rows of the ranges, as often as they occur
  int64_t size_ = 0;
};

}  // namespace millrace
