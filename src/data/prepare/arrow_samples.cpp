// A folder saved by `datasets`: every column is copied as it is.
#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "data/hf_dataset.h"
#include "data/prepare/sample_source.h"
#include "formats/arrow_file.h"
#include "formats/quote.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kImageType = "struct<bytes: binary, path: string>";

class ArrowSamples : public SampleSource {
 public:
  explicit ArrowSamples(const std::string& path) {
    std::string identity;
    for (const fs::path& file : list_hf_dataset(path)) {
      files_.push_back(std::make_shared<const ArrowFile>(file));
      first_rows_.push_back(num_rows_);
      num_rows_ += files_.back()->num_rows();
      identity += str(file.filename().string(), " ", fs::file_size(file), "\n");
      if (!files_.back()->damage().empty()) damage_.push_back(file.string() + ": " + files_.back()->damage());
    }
    fingerprint_ = checksum64(identity.data(), identity.size());
    const auto& columns = files_[0]->columns();
    for (size_t i = 0; i < columns.size(); ++i) {
      columns_.push_back({columns[i].name, ArrowType::kCopy, {}, files_[0]});
      if (columns[i].type == kImageType) picture_columns_.push_back(static_cast<int>(i));
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
    sample.cells.clear();
    for (int column = 0; column < static_cast<int>(columns_.size()); ++column) {
      sample.cells.emplace_back(ArrowSourceCell{file, column, row});
    }
  }

  void read_pictures(int64_t index, RawSample& sample) override {
    const auto [file, row] = locate(index);
    sample.name = str(file->path().filename().string(), ": row ", row);
    sample.pictures.clear();
    for (const int column : picture_columns_) {
      sample.pictures.push_back(file->bytes(column, row));
      if (!sample.pictures.back() && !file->is_null(column, row))
        throw DataError(str("[", sample.name, "] expected the picture itself, got its path alone"));
    }
  }

 private:
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
  std::vector<int> picture_columns_;
  std::vector<std::string> damage_;
};

}  // namespace

std::unique_ptr<SampleSource> open_arrow_samples(const std::string& path) {
  return std::make_unique<ArrowSamples>(path);
}

}  // namespace millrace
