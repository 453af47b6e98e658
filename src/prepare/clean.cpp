#include "prepare/clean.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "data/hf_dataset.h"
#include "formats/arrow_file.h"
#include "images/encode.h"
#include "prepare/centre_square.h"
#include "prepare/index_file.h"
#include "prepare/prepare_report.h"
#include "prepare/sample_source.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCleanCommand = "prepare clean";
constexpr const char* kSquareColumn = "png";

class Cleaner {
 public:
  Cleaner(const CleanOptions& options, const PrepareProgress& progress)
      : options_(options),
        progress_(progress),
        bad_(kCleanCommand, options.max_bad_fraction),
        source_(open_samples(options.input, options.share.num_threads)) {
    if (!options.filter_file.empty()) filtered_ = read_index_file(options.filter_file);
    choose_columns();
    identity_ = {{"input", source_->fingerprint()},
                 {"image column", source_->columns()[static_cast<size_t>(picture_column_)].name},
                 {"filter file", checksum64(filtered_.data(), filtered_.size() * sizeof(int64_t))},
                 {"output size", options.output_size},
                 {"subset size", options.subset_size},
                 {"samples per file", options.samples_per_file}};
  }

  CleanSummary run() {
    folder_ = options_.output / ".prepare";
    if (is_complete()) {
      remove_unit_folder(folder_);  // a run killed at its end may have left part of it
      return earlier_summary();
    }
    create_folders(options_.output);
    if (!open_unit_folder(folder_, identity_, kCleanCommand, options_.share, [this] { return is_complete(); }))
      return {};
    if (options_.share.rank == 0) source_->look_ahead();
    UnitJob job;
    job.exists = [this](int64_t unit) { return exists(unit); };
    job.work = [this](int64_t unit) { return clean_unit(unit); };
    job.on_result = [this](const UnitResult& result, bool is_new) { add(result, is_new); };
    job.is_enough = [this](const std::vector<UnitResult>& first) { return is_enough(first); };
    job.remaining = [this] { return remaining_units(); };
    const std::vector<UnitResult> results = run_units(folder_, options_.share, job);
    return options_.share.rank == 0 ? finish(results) : CleanSummary{};
  }

 private:
  void choose_columns() {
    const auto& columns = source_->columns();
    const auto& pictures = source_->picture_columns();
    std::vector<std::string> names;
    for (size_t i = 0; i < pictures.size(); ++i) {
      const std::string& name = columns[static_cast<size_t>(pictures[i])].name;
      names.push_back(name);
      const bool is_wanted =
          options_.image_column.empty() ? name == "jpg" || pictures.size() == 1 : name == options_.image_column;
      if (is_wanted && picture_ < 0) {
        picture_ = static_cast<int>(i);
        picture_column_ = pictures[i];
      }
    }
    if (picture_ < 0) {
      const std::string wanted = options_.image_column.empty() ? "jpg" : options_.image_column;
      throw DataError(str("[", options_.input, "] expected a column of pictures, ", wanted, ", got ",
                          names.empty() ? "none" : join(names, ", "),
                          names.empty() ? "" : " (--image-column chooses another)"));
    }
    for (const ArrowColumnSpec& column : columns) {
      if (column.name == kSquareColumn) square_column_ = static_cast<int>(columns_.size());
      columns_.push_back(column.name == kSquareColumn ? ArrowColumnSpec{kSquareColumn, ArrowType::kImage} : column);
    }
    if (square_column_ < 0) {
      square_column_ = static_cast<int>(columns_.size());
      columns_.push_back({kSquareColumn, ArrowType::kImage});
    }
  }

  // The functions up to clean_unit() are called by one thread at a time.

  bool exists(int64_t unit) {
    const int64_t before = counted_;
    counted_ = source_->count((unit + 1) * options_.samples_per_file);
    if (counted_ != before) {
      const size_t damaged = source_->damage().size();
      if (damaged != damaged_) check_shard_damage(*source_, options_.allow_damaged_shards);
      damaged_ = damaged;
    }
    return unit * options_.samples_per_file < counted_;
  }

  void add(const UnitResult& result, bool is_new) {
    rows_ += result["rows"].get<int64_t>();
    seen_ += result["seen"].get<int64_t>();
    bad_.add(result["seen"].get<int64_t>(), result["bad"], is_new);
    if (progress_)
      progress_(options_.subset_size > 0 ? std::min(rows_, options_.subset_size) : rows_, expected_rows(), is_new);
  }

  bool is_enough(const std::vector<UnitResult>& first) {
    if (options_.subset_size == 0) return false;
    int64_t rows = 0;
    for (const UnitResult& result : first) rows += result["rows"].get<int64_t>();
    return rows >= options_.subset_size;
  }

  // Extrapolates from the fraction kept so far.
  int64_t expected_rows() const {
    if (seen_ == 0) return options_.subset_size;
    const auto rows = static_cast<int64_t>(static_cast<double>(rows_) / static_cast<double>(seen_) *
                                           static_cast<double>(source_->estimate()));
    return options_.subset_size > 0 ? std::min(rows, options_.subset_size) : rows;
  }

  int64_t remaining_units() const {
    if (rows_ == 0) return 0;
    const double rows_per_unit =
        static_cast<double>(rows_) / static_cast<double>(seen_) * static_cast<double>(options_.samples_per_file);
    return static_cast<int64_t>(static_cast<double>(expected_rows() - rows_) / rows_per_unit);
  }

  // Called by many threads.
  UnitResult clean_unit(int64_t unit) {
    const int64_t begin = unit * options_.samples_per_file;
    const int64_t end = std::min(source_->count(begin + options_.samples_per_file), begin + options_.samples_per_file);
    ArrowStreamWriter writer(unit_path(folder_, unit, ".arrow"), columns_);
    UnitResult result = {
        {"rows", 0}, {"seen", end - begin}, {"filtered", 0}, {"small", 0}, {"bad", BadSampleList::array()}};
    const auto count_up = [&](const char* what) { result[what] = result[what].get<int64_t>() + 1; };
    RawSample sample;
    CentreScratch scratch;
    for (int64_t index = begin; index < end; ++index) {
      if (std::binary_search(filtered_.begin(), filtered_.end(), index)) {
        count_up("filtered");
        continue;
      }
      try {
        source_->read(index, sample);
        const auto& found = sample.pictures[static_cast<size_t>(picture_)];
        if (!found) throw DataError(str("[", sample.name, "] expected a picture, got none"));
        const std::span<const std::byte> picture = *found;
        const ImageInfo info = *probe_image(picture, sample.name);
        if (std::min(info.width, info.height) < options_.output_size) {
          count_up("small");
          continue;
        }
        const std::string square = encode_png(centre_square(picture, sample.name, options_.output_size, scratch));
        sample.cells.resize(columns_.size());
        sample.cells[static_cast<size_t>(square_column_)] = std::as_bytes(std::span(square));
        writer.add_row(sample.cells);
      } catch (const DataError& error) {
        result["bad"].push_back(bad_sample(index, sample.name, error.what()));
      }
    }
    writer.close();
    result["rows"] = writer.rows();
    result["bytes"] = writer.bytes();
    return result;
  }

  bool is_complete() {
    const fs::path& output = options_.output;
    if (!fs::exists(output)) return false;
    if (!fs::is_directory(output))
      throw ConfigError(str("[", output.string(), "] expected a folder, got a file of that name"));
    if (fs::exists(output / ".prepare")) return false;
    bool has_files = false;
    for (const auto& entry : fs::directory_iterator(output)) {
      has_files = has_files || entry.path().extension() == ".arrow" || entry.path().extension() == ".json";
    }
    if (!has_files) return false;
    if (fs::exists(output / "state.json")) {
      report_ = read_prepare_report(output, identity_);
      if (!report_.is_null()) return true;
    }
    throw ConfigError(str("[", output.string(), "] expected a separate folder for the cleaned set, got one that holds ",
                          "another data set (try another --output-dir, or remove it)"));
  }

  CleanSummary earlier_summary() const {
    CleanSummary summary;
    summary.rows = report_.value("rows", int64_t{0});
    summary.seen = report_.value("seen", int64_t{0});
    summary.filtered = report_.value("filtered", int64_t{0});
    summary.small = report_.value("small", int64_t{0});
    summary.bad = report_.value("bad", BadSampleList::array());
    summary.files = report_.value("files", int64_t{0});
    summary.was_complete = true;
    return summary;
  }

  // The last file may hold too many rows.
  void cut_file(const fs::path& path, int64_t rows) const {
    const auto file = std::make_shared<const ArrowFile>(path);
    std::vector<ArrowColumnSpec> columns;
    for (const ArrowColumn& column : file->columns()) columns.push_back({column.name, ArrowType::kCopy, {}, file});
    ArrowStreamWriter writer(path, columns);
    for (int64_t row = 0; row < rows; ++row) {
      std::vector<ArrowCell> cells;
      for (int column = 0; column < static_cast<int>(columns.size()); ++column)
        cells.emplace_back(ArrowSourceCell{file.get(), column, row});
      writer.add_row(cells);
    }
    writer.close();
  }

  CleanSummary finish(const std::vector<UnitResult>& results) {
    CleanSummary summary;
    BadSampleTotal bad(kCleanCommand, options_.max_bad_fraction);
    std::vector<int64_t> units;  // with rows
    for (size_t i = 0; i < results.size(); ++i) {
      const UnitResult& result = results[i];
      summary.rows += result["rows"].get<int64_t>();
      summary.seen += result["seen"].get<int64_t>();
      summary.filtered += result["filtered"].get<int64_t>();
      summary.small += result["small"].get<int64_t>();
      for (const auto& sample : result["bad"]) summary.bad.push_back(sample);
      bad.add(result["seen"].get<int64_t>(), result["bad"], false);
      if (result["rows"] > 0) units.push_back(static_cast<int64_t>(i));
    }
    bad.check();
    if (summary.rows == 0) {
      throw DataError(str("[", options_.input, "] expected at least one picture of ", options_.output_size, " x ",
                          options_.output_size, ", got none: of ", summary.seen, " samples ", summary.small,
                          " are smaller, ", summary.filtered, " filtered, ", summary.bad.size(), " bad"));
    }
    summary.files = static_cast<int64_t>(units.size());
    const int64_t surplus = options_.subset_size > 0 ? std::max<int64_t>(0, summary.rows - options_.subset_size) : 0;
    summary.rows -= surplus;
    std::vector<HfDataFile> files;
    for (const int64_t unit : units) {
      const fs::path made = unit_path(folder_, unit, ".arrow");
      const std::string name = hf_data_file_name(static_cast<int64_t>(files.size()), summary.files);
      int64_t rows = results[static_cast<size_t>(unit)]["rows"].get<int64_t>();
      // If an earlier run was stopped here, some files already have their final name.
      if (surplus > 0 && unit == units.back()) {
        rows -= surplus;
        if (fs::exists(made)) cut_file(made, rows);
      }
      move_unit_file(made, options_.output / name);
      files.push_back({name, rows, fs::file_size(options_.output / name)});
    }
    fsync_folder(options_.output);
    write_prepare_report(options_.output, {{"command", kCleanCommand},
                                           {"options", identity_},
                                           {"rows", summary.rows},
                                           {"seen", summary.seen},
                                           {"filtered", summary.filtered},
                                           {"small", summary.small},
                                           {"files", summary.files},
                                           {"bad", summary.bad}});
    finish_hf_dataset(options_.output, columns_, files, "train");
    remove_unit_folder(folder_);
    return summary;
  }

  const CleanOptions& options_;
  const PrepareProgress& progress_;
  BadSampleTotal bad_;
  std::unique_ptr<SampleSource> source_;
  std::vector<int64_t> filtered_;
  int picture_ = -1;         // among the source's pictures
  int picture_column_ = -1;  // among its columns
  int square_column_ = -1;   // among columns_
  std::vector<ArrowColumnSpec> columns_;
  UnitResult identity_, report_;
  fs::path folder_;
  int64_t counted_ = 0, rows_ = 0, seen_ = 0;
  size_t damaged_ = 0;
};

}  // namespace

CleanSummary clean_samples(const CleanOptions& options, const PrepareProgress& progress) {
  if (options.output_size < 8 || options.output_size > 8192)
    throw ConfigError(str("[--output-size] expected 8 to 8192 pixels, got ", options.output_size));
  return Cleaner(options, progress).run();
}

}  // namespace millrace
