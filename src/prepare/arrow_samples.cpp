// A folder saved by `datasets`: every column is copied unchanged.
#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "data/hf_dataset.h"
#include "formats/arrow_file.h"
#include "formats/quote.h"
#include "prepare/sample_source.h"

namespace millrace {
namespace {

constexpr const char* kImageType = "struct<bytes: binary, path: string>";

class ArrowSamples : public SampleSource {
 public:
  explicit ArrowSamples(const std::vector<ShardFile>& files) {
    std::string identity;
    for (const ShardFile& file : files) {
      identity += str(file.path.filename().string(), " ", file.size, "\n");
      const std::string problem = open_file(file);
      if (!problem.empty()) damage_.push_back(printable(file.path.string()) + ": " + problem);
    }
    if (files_.empty()) throw DataError(str("[", damage_.front(), "] expected an Arrow file, got none"));
    fingerprint_ = checksum64(identity.data(), identity.size());
    const auto& columns = files_[0]->columns();
    for (size_t i = 0; i < columns.size(); ++i) {
      columns_.push_back({columns[i].name, ArrowType::kCopy, {}, files_[0]});
      if (columns[i].type == kImageType) picture_columns_.push_back(static_cast<int>(i));
      if (columns[i].type == "string" || columns[i].type == "large_string")
        text_columns_.push_back(static_cast<int>(i));
    }
    for (const auto& file : files_) check_columns(*file);
  }

  const std::vector<ArrowColumnSpec>& columns() const override { return columns_; }
  const std::vector<int>& picture_columns() const override { return picture_columns_; }
  int64_t count(int64_t) override { return num_rows_; }
  int64_t estimate() const override { return num_rows_; }
  uint64_t fingerprint() const override { return fingerprint_; }
  std::vector<std::string> damage() const override { return damage_; }

  void read(int64_t index, RawSample& sample) override {
    read_pictures(index, sample);
    const auto [file, row] = locate(index);
    for (const int column : text_columns_) {
      const auto text = file->bytes(column, row);
      if (text && !is_valid_utf8({reinterpret_cast<const char*>(text->data()), text->size()}))
        throw DataError(str("[", sample.name, ", ", columns_[static_cast<size_t>(column)].name,
                            "] expected text in UTF-8, got other bytes"));
      if (text && text->empty() && columns_[static_cast<size_t>(column)].name == "__key__")
        throw DataError(str("[", sample.name, "] expected a name in __key__, got an empty one"));
    }
    sample.cells.clear();
    for (int column = 0; column < static_cast<int>(columns_.size()); ++column) {
      sample.cells.emplace_back(ArrowSourceCell{file, column, row});
    }
  }

  void read_pictures(int64_t index, RawSample& sample) override {
    const auto [file, row] = locate(index);
    sample.name = str(printable(file->path().filename().string()), ": row ", row);
    sample.pictures.clear();
    for (const int column : picture_columns_) {
      sample.pictures.push_back(file->bytes(column, row));
      if (!sample.pictures.back() && !file->is_null(column, row))
        throw DataError(str("[", sample.name, "] expected the picture itself, got its path alone"));
    }
  }

 private:
  // The problem of a file that is damaged or not an Arrow file; adds its rows.
  std::string open_file(const ShardFile& file) {
    if (!file.problem.empty()) return file.problem;
    try {
      files_.push_back(std::make_shared<const ArrowFile>(file.path));
    } catch (const DataError& error) {
      return without_place(error.what());
    }
    first_rows_.push_back(num_rows_);
    num_rows_ += files_.back()->num_rows();
    return files_.back()->damage();
  }

  struct Place {
    const ArrowFile* file;
    int64_t row;
  };
  Place locate(int64_t index) const {
    MILLRACE_CHECK(index >= 0 && index < num_rows_);
    const auto after = std::upper_bound(first_rows_.begin(), first_rows_.end(), index);
    const auto i = static_cast<size_t>(after - first_rows_.begin()) - 1;
    return {files_[i].get(), index - first_rows_[i]};
  }

  void check_columns(const ArrowFile& file) const {
    const auto& expected = files_[0]->columns();
    const auto& found = file.columns();
    for (size_t i = 0; i < std::max(expected.size(), found.size()); ++i) {
      const std::string want = i < expected.size() ? expected[i].name + " " + expected[i].type : "no more columns";
      const std::string got = i < found.size() ? found[i].name + " " + found[i].type : "no more columns";
      if (want != got) {
        throw DataError(str("[", file.path().string(), "] expected the columns of the first file, ", in_quotes(want),
                            ", got ", in_quotes(got)));
      }
    }
  }

  std::vector<std::shared_ptr<const ArrowFile>> files_;
  std::vector<int64_t> first_rows_;
  int64_t num_rows_ = 0;
  uint64_t fingerprint_ = 0;
  std::vector<ArrowColumnSpec> columns_;
  std::vector<int> picture_columns_, text_columns_;
  std::vector<std::string> damage_;
};

}  // namespace

std::unique_ptr<SampleSource> open_arrow_samples(const std::vector<ShardFile>& files) {
  return std::make_unique<ArrowSamples>(files);
}

}  // namespace millrace
