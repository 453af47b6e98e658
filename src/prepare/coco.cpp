#include "prepare/coco.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/tar.h"
#include "images/decode.h"
#include "images/encode.h"
#include "images/resample.h"
#include "images/strict_check.h"
#include "prepare/prepare_report.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kCocoCommand = "prepare coco";
constexpr uint64_t kMaxPictureBytes = uint64_t{1} << 28;

std::string shard_name(int64_t shard) {
  char name[40];
  std::snprintf(name, sizeof name, "shard_%05lld.tar", static_cast<long long>(shard));
  return name;
}

std::string sample_key(const CocoRow& row, bool with_annotation) {
  char key[64];
  const auto image = static_cast<long long>(row.image_id), annotation = static_cast<long long>(row.id);
  if (with_annotation) {
    std::snprintf(key, sizeof key, "%012lld_%lld", image, annotation);
  } else {
    std::snprintf(key, sizeof key, "%012lld", image);
  }
  return key;
}

// Scaled as by PIL, RGB.
std::string scaled_png(const fs::path& path, int width, int height) {
  if (!fs::exists(path)) throw DataError(str("[", path.string(), "] expected a picture, got no such file"));
  const std::string content = read_file(path, kMaxPictureBytes);
  const auto bytes = std::as_bytes(std::span(content));
  DecodeOptions options;
  options.keep_cmyk = true;
  const DecodedImage decoded = decode_image(bytes, path.string(), options);
  if (decoded.truncated) {
    const std::string problem = find_picture_problem(bytes, path.string());
    if (!problem.empty()) throw DataError(str("[", path.string(), "] ", problem));
  }
  const Image scaled = resize(decoded.image, width, height);
  return encode_png(scaled.channels == 4 ? cmyk_to_rgb(scaled) : scaled);
}

class CocoWriter {
 public:
  CocoWriter(const CocoOptions& options, const PrepareProgress& progress)
      : options_(options),
        progress_(progress),
        table_(choose_coco_captions(options.table)),
        tsv_(coco_tsv(table_)),
        bad_(kCocoCommand, options.max_bad_fraction),
        folder_(options.output / ".prepare") {
    identity_ = {{"captions", checksum64(tsv_.data(), tsv_.size())},
                 {"samples", table_.rows.size()},
                 {"images", fs::absolute(options.images).lexically_normal().string()},
                 {"width", options.width},
                 {"height", options.height},
                 {"samples per shard", options.samples_per_shard},
                 {"duplicate images", options.table.allow_duplicate_images}};
  }

  CocoSummary run() {
    if (!fs::is_directory(options_.images))
      throw DataError(str("[", options_.images.string(), "] expected a folder of pictures, got none"));
    if (is_complete()) {
      remove_unit_folder(folder_);  // a run killed at its end may have left part of it
      return {count(), num_shards(), report_.value("bad", BadSampleList::array()), true};
    }
    if (!open_unit_folder(folder_, identity_, kCocoCommand, options_.share, [this] { return is_complete(); }))
      return {};
    UnitJob job;
    job.exists = [this](int64_t unit) { return unit < num_shards(); };
    job.work = [this](int64_t unit) { return write_shard(unit); };
    job.on_result = [this](const UnitResult& result, bool is_new) {
      bad_.add(result["seen"].get<int64_t>(), result["bad"], is_new);
      done_ += result["seen"].get<int64_t>();
      ++shards_done_;
      if (progress_) progress_(done_, count(), is_new);
    };
    job.remaining = [this] { return num_shards() - shards_done_; };
    const std::vector<UnitResult> results = run_units(folder_, options_.share, job);
    return options_.share.rank == 0 ? finish(results) : CocoSummary{};
  }

 private:
  int64_t count() const { return static_cast<int64_t>(table_.rows.size()); }
  int64_t num_shards() const { return (count() + options_.samples_per_shard - 1) / options_.samples_per_shard; }

  UnitResult write_shard(int64_t shard) const {
    const int64_t begin = shard * options_.samples_per_shard;
    const int64_t end = std::min(count(), begin + options_.samples_per_shard);
    UnitResult result = {{"seen", end - begin}, {"bad", BadSampleList::array()}};
    TarWriter tar(folder_ / shard_name(shard));
    for (int64_t i = begin; i < end; ++i) {
      const CocoRow& row = table_.rows[static_cast<size_t>(i)];
      std::string png;
      try {
        png = scaled_png(options_.images / row.file, options_.width, options_.height);
      } catch (const DataError& error) {
        result["bad"].push_back(bad_sample(i, row.file, error.what()));
        continue;
      }
      const std::string key = sample_key(row, options_.table.allow_duplicate_images);
      const Json about = {{"id", std::to_string(row.image_id)},
                          {"caption", row.caption},
                          {"filename", fs::path(row.file).stem().string() + ".png"},
                          {"timestep", row.timestep}};
      tar.add(key + ".png", png);
      tar.add(key + ".txt", row.caption);
      tar.add(key + ".json", about.dump(2, ' ', true));  // ASCII, as Python's json.dumps
    }
    result["bytes"] = tar.bytes_written();
    tar.close();
    return result;
  }

  bool is_complete() {
    const fs::path& output = options_.output;
    if (!fs::exists(output) || fs::exists(folder_)) return false;
    if (!fs::is_directory(output))
      throw ConfigError(str("[", output.string(), "] expected a folder, got a file of that name"));
    bool has_shards = false;
    for (const auto& entry : fs::directory_iterator(output)) has_shards |= entry.path().extension() == ".tar";
    if (!has_shards) return false;
    report_ = read_prepare_report(output, identity_);
    if (!report_.is_null()) return fs::exists(options_.tsv);
    throw ConfigError(str("[", output.string(),
                          "] expected a separate folder for the shards, got one that holds others ",
                          "(try another --output-dir, or remove it)"));
  }

  CocoSummary finish(const std::vector<UnitResult>& results) {
    CocoSummary summary{count(), num_shards(), BadSampleList::array(), false};
    BadSampleTotal total(kCocoCommand, options_.max_bad_fraction);
    for (const UnitResult& result : results) {
      total.add(result["seen"].get<int64_t>(), result["bad"], false);
      for (const auto& bad : result["bad"]) summary.bad.push_back(bad);
    }
    total.check();
    summary.samples -= static_cast<int64_t>(summary.bad.size());
    if (summary.samples == 0)
      throw DataError(str("[", options_.images.string(), "] expected pictures, got none that can be used"));
    for (int64_t shard = 0; shard < num_shards(); ++shard) {
      // If an earlier run was stopped here, some shards already have their final name.
      move_unit_file(folder_ / shard_name(shard), options_.output / shard_name(shard));
    }
    fsync_folder(options_.output);
    write_file_atomically(options_.tsv, tsv_);
    write_prepare_report(
        options_.output,
        {{"command", kCocoCommand}, {"options", identity_}, {"samples", summary.samples}, {"bad", summary.bad}});
    remove_unit_folder(folder_);
    return summary;
  }

  const CocoOptions& options_;
  const PrepareProgress& progress_;
  const CocoTable table_;
  const std::string tsv_;
  BadSampleTotal bad_;
  const fs::path folder_;
  UnitResult identity_, report_;
  int64_t done_ = 0, shards_done_ = 0;
};

}  // namespace

CocoSummary write_coco_shards(const CocoOptions& options, const PrepareProgress& progress) {
  for (const auto& [name, value] : {std::pair("--width", options.width), std::pair("--height", options.height)}) {
    if (value < 8 || value > 8192) throw ConfigError(str("[", name, "] expected 8 to 8192 pixels, got ", value));
  }
  return CocoWriter(options, progress).run();
}

}  // namespace millrace
