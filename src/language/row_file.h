// Rows of a data set in one file: JSON lines, a JSON array of objects, CSV with a header, Parquet or Arrow, or plain
// text, of which every line, every paragraph or all is a row {"text": ...}. Rows are parsed when they are asked for:
// only where they lie is kept in memory and, of Parquet, the rows that were unpacked last.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/files.h"
#include "base/thread_pool.h"
#include "formats/row_table.h"

namespace millrace {

using HeldRows = std::vector<std::shared_ptr<const void>>;

// kText: lines; kParagraphs: what empty lines are between.
enum class RowFileKind { kJson, kCsv, kTable, kText, kParagraphs, kDocument };

// How files are read where their names do not say it.
struct RowFileForm {
  std::optional<RowFileKind> kind;  // nullopt: as the name says
  std::string field;                // see RowFile
  char separator = ',';             // of CSV
};

// Safe to read from several threads.
class RowFile {
 public:
  // kJson tells an array from lines by its first character. field: of an outermost object, the member that holds the
  // array. Throws StorageError when the file cannot be read, DataError naming file and line for what cannot be cut into
  // rows.
  // separator: of the fields of kCsv.
  RowFile(const std::filesystem::path& path, RowFileKind kind, const std::string& field = "", char separator = ',');

  int64_t size() const { return table_ ? table_->size() : static_cast<int64_t>(rows_.size()); }
  // Throws DataError naming file and line for a row that is damaged or not UTF-8.
  nlohmann::ordered_json row(int64_t index) const;
  // file:line; "file:line, row 3" where several rows are on it, "file, row 3" where there are no lines. Lines are
  // counted from 1, rows from 0.
  std::string place(int64_t index) const;
  // Rows of Parquet are packed: in order they are cheap, in any other dear.
  bool is_packed() const { return table_ && table_->is_packed() && unpacked_ == nullptr; }
  // Keeps packed rows in [begin, end), which are about to be read, in memory for as long as the result lives.
  HeldRows hold(int64_t begin, int64_t end) const;
  // Reads packed rows from a file in the folder from now on (unpacked_rows.h), in any order. Not while others read.
  void unpack(const std::filesystem::path& folder, ThreadPool& pool);
  const RowFile* unpacked() const { return unpacked_.get(); }  // or null
  const std::filesystem::path& path() const { return file_.path(); }
  // A checksum of the content and of how it is cut into rows; reads all of the file, by all threads of the pool.
  uint64_t digest(ThreadPool& pool) const;
  // Gives back the memory of what was read; it is read from the disk when it is wanted again.
  void forget_read() const { release_mapped((unpacked_ ? *unpacked_ : *this).file_.bytes()); }

 private:
  struct Span {
    size_t begin, end;
    int64_t line;
  };
  size_t find_list(std::string_view text, const std::string& field) const;
  void cut_lines(std::string_view text, bool keeps_blank);
  void cut_array(std::string_view text, size_t at);
  void cut_paragraphs(std::string_view text);
  void cut_csv(std::string_view text);
  nlohmann::ordered_json csv_row(const Span& span) const;

  MappedFile file_;
  RowFileKind kind_;
  char separator_;
  std::vector<Span> rows_;
  std::vector<std::string> header_;    // of CSV
  std::optional<RowTable> table_;      // of Parquet and Arrow
  std::unique_ptr<RowFile> unpacked_;  // of Parquet, or null
};

// By the name, of files that a folder is searched for: .json, .jsonl and .ndjson, .csv, .parquet and .arrow; nullopt
// for others.
std::optional<RowFileKind> find_row_file_kind(const std::filesystem::path& path);
// The same for a file that is named itself, which may be .txt, too. Throws ConfigError for others.
RowFileKind row_file_kind(const std::filesystem::path& path);

}  // namespace millrace
