// WebDataset shards as presented by load_dataset("webdataset"): one column for each file of a sample, typed by its
// extension, then __key__ and __url__.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "data/sample_shard.h"
#include "formats/json.h"
#include "formats/json_cast.h"
#include "formats/quote.h"
#include "formats/read_python_json.h"
#include "prepare/raw_shard.h"
#include "prepare/sample_source.h"
#include "prepare/webdataset_fields.h"
#include "prepare/webdataset_files.h"

namespace millrace {
namespace {

constexpr size_t kSamplesForTypes = 5;  // as many as `datasets` looks at
constexpr size_t kMostSamplesForTypes = 1000;
constexpr size_t kMaxFields = 1000;

using ShardPointer = std::shared_ptr<const RawShard>;

// The most recently used shards stay open.
class ShardKeeper {
 public:
  ShardKeeper(const std::vector<ShardFile>& shards, size_t capacity) : shards_(shards), capacity_(capacity) {}

  ShardPointer get(size_t shard) {
    {
      const std::lock_guard lock(mutex_);
      const auto found = open_.find(shard);
      if (found != open_.end()) return found->second;
    }
    // Two threads may read the same headers; neither waits for the other.
    const auto opened = std::make_shared<const RawShard>(shards_[shard]);
    const std::lock_guard lock(mutex_);
    const auto [place, is_new] = open_.emplace(shard, opened);
    if (is_new) order_.push_back(shard);
    const ShardPointer result = place->second;
    while (order_.size() > capacity_) {
      open_.erase(order_.front());
      order_.pop_front();
    }
    return result;
  }

 private:
  const std::vector<ShardFile>& shards_;
  const size_t capacity_;
  std::mutex mutex_;
  std::map<size_t, ShardPointer> open_;
  std::list<size_t> order_;
};

int64_t parse_integer(std::string_view text, const std::string& place) {
  const std::string_view digits = trim(text);
  int64_t value = 0;
  const char* begin = digits.data() + (digits.starts_with("+") ? 1 : 0);
  const auto [end, error] = std::from_chars(begin, digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size())
    throw DataError(str("[", place, "] expected a whole number, got ", in_quotes(text, 40)));
  return value;
}

class WebDatasetSamples : public SampleSource {
 public:
  WebDatasetSamples(std::vector<ShardFile> shards, int num_threads)
      : shards_(std::move(shards)), keeper_(shards_, 2 * static_cast<size_t>(num_threads) + 2), pool_(num_threads) {
    find_columns();
  }

  const std::vector<ArrowColumnSpec>& columns() const override { return columns_; }
  const std::vector<int>& picture_columns() const override { return picture_columns_; }
  uint64_t fingerprint() const override { return millrace::fingerprint(shards_); }
  std::vector<std::string> damage() const override {
    const std::lock_guard lock(mutex_);
    return damage_;
  }

  void look_ahead() override {
    std::vector<std::future<std::string>> looks;
    for (const ShardFile& file : shards_) looks.push_back(pool_.submit([&file] { return find_lost(file); }));
    for (size_t shard = 0; shard < shards_.size(); ++shard) {
      const std::string problem = looks[shard].get();
      if (problem.empty()) continue;
      const std::lock_guard lock(mutex_);
      damage_.push_back(printable(shards_[shard].path.string()) + ": " + problem);
      known_.insert(shard);
    }
  }

  int64_t count(int64_t at_least) override {
    const std::lock_guard lock(mutex_);
    while (num_samples_ < at_least && first_samples_.size() < shards_.size()) {
      struct Counted {
        int64_t samples;
        std::string damage;
      };
      std::vector<std::future<Counted>> wave;
      const size_t begin = first_samples_.size();
      const size_t end = std::min(shards_.size(), begin + static_cast<size_t>(pool_.size()));
      for (size_t shard = begin; shard < end; ++shard) {
        wave.push_back(pool_.submit([this, shard]() -> Counted {
          const ShardPointer opened = keeper_.get(shard);
          return {static_cast<int64_t>(opened->entries().size()), opened->damage()};
        }));
      }
      for (size_t shard = begin; shard < end; ++shard) {
        const Counted counted = wave[shard - begin].get();
        first_samples_.push_back(num_samples_);
        num_samples_ += counted.samples;
        if (!counted.damage.empty() && !known_.contains(shard))
          damage_.push_back(printable(shards_[shard].path.string()) + ": " + counted.damage);
      }
    }
    return num_samples_;
  }

  int64_t estimate() const override {
    const std::lock_guard lock(mutex_);
    double known = 0, all = 0;  // bytes
    for (size_t shard = 0; shard < shards_.size(); ++shard) {
      all += static_cast<double>(shards_[shard].size);
      if (shard < first_samples_.size()) known += static_cast<double>(shards_[shard].size);
    }
    return known > 0 ? std::llround(static_cast<double>(num_samples_) * (all / known)) : 0;
  }

  void read_pictures(int64_t index, RawSample& sample) override {
    const auto [shard, entry] = begin_sample(index, sample);
    for (const int column : picture_columns_) {
      const RawFile* file = entry->find(columns_[static_cast<size_t>(column)].name);
      add_picture(*shard, file, sample);
    }
  }

  void read(int64_t index, RawSample& sample) override {
    const auto [shard, entry] = begin_sample(index, sample);
    for (const ArrowColumnSpec& column : columns_) {
      if (column.name == "__key__") {
        sample.cells.emplace_back(std::string_view(sample.contents.emplace_back(entry->key)));
      } else if (column.name == "__url__") {
        sample.cells.emplace_back(std::string_view(sample.contents.emplace_back(absolute_path(*shard))));
      } else if (const RawFile* file = entry->find(column.name)) {
        add_cell(*shard, *file, column, sample);
      } else {
        sample.cells.emplace_back();
        if (column.type == ArrowType::kImage) sample.pictures.emplace_back();
      }
    }
  }

 private:
  static std::string absolute_path(const RawShard& shard) {
    return printable(std::filesystem::absolute(shard.path()).lexically_normal().string());
  }

  struct Place {
    ShardPointer shard;
    const RawEntry* entry;
  };
  Place begin_sample(int64_t index, RawSample& sample) {
    size_t shard = 0, entry = 0;
    {
      const std::lock_guard lock(mutex_);
      MILLRACE_CHECK(index >= 0 && index < num_samples_);
      const auto after = std::upper_bound(first_samples_.begin(), first_samples_.end(), index);
      shard = static_cast<size_t>(after - first_samples_.begin()) - 1;
      entry = static_cast<size_t>(index - first_samples_[shard]);
    }
    const ShardPointer opened = keeper_.get(shard);
    if (entry >= opened->entries().size())
      throw DataError(str("[", opened->path().string(), "] expected the samples it had at first, got fewer"));
    sample.name = opened->describe(entry);
    sample.cells.clear();
    sample.pictures.clear();
    sample.contents.clear();
    sample.values.clear();
    sample.file = opened;
    const RawEntry& found = opened->entries()[entry];
    if (!found.problem.empty()) throw DataError(str("[", sample.name, "] ", found.problem));
    return {opened, &found};
  }

  static void add_picture(const RawShard& shard, const RawFile* file, RawSample& sample) {
    if (!file) return static_cast<void>(sample.pictures.emplace_back());
    std::string& content = sample.contents.emplace_back();
    shard.read(*file, content);
    sample.pictures.push_back(std::as_bytes(std::span(content)));
  }

  static void add_cell(const RawShard& shard, const RawFile& file, const ArrowColumnSpec& column, RawSample& sample) {
    const std::string place = sample.name + "." + file.field;
    if (column.type == ArrowType::kImage) {
      add_picture(shard, &file, sample);
      sample.cells.emplace_back(*sample.pictures.back());
      return;
    }
    std::string& content = sample.contents.emplace_back();
    shard.read(file, content);
    if (column.type == ArrowType::kString) {
      if (!is_valid_utf8(content)) throw DataError(str("[", place, "] expected text in UTF-8, got other bytes"));
      sample.cells.emplace_back(std::string_view(content));
    } else if (column.type == ArrowType::kInt64) {
      sample.cells.emplace_back(parse_integer(content, place));
    } else if (column.type == ArrowType::kJson) {
      auto& value = sample.values.emplace_back(parse_python_json(content, place));
      cast_json(value, column.json);
      check_json_fits(value, column.json, place);
      sample.cells.emplace_back(&value);
    } else {
      sample.cells.emplace_back(std::as_bytes(std::span(content)));
    }
  }

  // The samples that determine the columns: the first ones without a problem, all from one shard.
  std::pair<ShardPointer, std::vector<size_t>> first_samples() {
    std::string problem = "expected samples, got none (name them KEY.jpg, KEY.txt ...)";
    for (size_t shard = 0; shard < shards_.size(); ++shard) {
      const ShardPointer opened = keeper_.get(shard);
      std::vector<size_t> sound;
      for (size_t i = 0; i < opened->entries().size() && sound.size() < kSamplesForTypes; ++i) {
        if (opened->entries()[i].problem.empty()) sound.push_back(i);
      }
      if (!sound.empty()) return {opened, sound};
      if (!opened->damage().empty()) problem = opened->damage();
      if (!opened->entries().empty()) problem = opened->entries()[0].problem;
    }
    throw DataError(str("[", printable(shards_[0].path.string()), "] ", problem));
  }

  // Like `datasets`: from the first samples. A problem of one of them is found again when it is read, and counts as one
  // bad sample.
  void find_columns() {
    const auto [first, sound] = first_samples();
    for (const size_t i : sound) {
      const RawEntry& entry = first->entries()[i];
      if (entry.files.size() > kMaxFields)
        throw DataError(
            str("[", first->describe(i), "] expected at most ", kMaxFields, " files, got ", entry.files.size()));
      for (const RawFile& file : entry.files) {
        if (!find_column(file.field)) add_column(file.field, first->path().string());
      }
    }
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i].type == ArrowType::kJson) columns_[i].json = find_json_type(*first, columns_[i].name);
      if (columns_[i].type == ArrowType::kImage) picture_columns_.push_back(static_cast<int>(i));
    }
    columns_.push_back({"__key__", ArrowType::kString});
    columns_.push_back({"__url__", ArrowType::kString});
  }

  // A type for the values of the first samples. Skips values that cannot be read or do not fit those before them; if
  // none is left, the next readable value determines the type.
  static JsonType find_json_type(const RawShard& shard, const std::string& field) {
    std::optional<JsonType> type;
    for (size_t i = 0; i < std::min(kMostSamplesForTypes, shard.entries().size()); ++i) {
      if (i >= kSamplesForTypes && type) break;
      const RawFile* file = shard.entries()[i].find(field);
      if (!file || !shard.entries()[i].problem.empty()) continue;
      const std::string place = shard.describe(i) + "." + field;
      try {
        std::string content;
        shard.read(*file, content);
        const JsonType own = json_type_of(parse_python_json(content, place), place);
        if (json_type_depth(own) > kMaxJsonTypeDepth) continue;
        type = type ? common_json_type(*type, own, place) : own;
      } catch (const DataError&) {
        continue;
      }
    }
    return type.value_or(JsonType{});
  }

  const ArrowColumnSpec* find_column(const std::string& name) const {
    const auto found = std::find_if(columns_.begin(), columns_.end(),
                                    [&](const ArrowColumnSpec& column) { return column.name == name; });
    return found == columns_.end() ? nullptr : &*found;
  }

  void add_column(const std::string& field, const std::string& place) {
    switch (field_kind(field)) {
      case FieldKind::kImage:
        return columns_.push_back({field, ArrowType::kImage});
      case FieldKind::kText:
        return columns_.push_back({field, ArrowType::kString});
      case FieldKind::kInteger:
        return columns_.push_back({field, ArrowType::kInt64});
      case FieldKind::kJson:
        return columns_.push_back({field, ArrowType::kJson});
      case FieldKind::kBytes:
        return columns_.push_back({field, ArrowType::kBinary});
      case FieldKind::kUnsupported:
        throw DataError(str("[", place, "] expected pictures, text, JSON, numbers or plain bytes, got .", field,
                            " files, which `datasets` would decode"));
    }
  }

  const std::vector<ShardFile> shards_;
  ShardKeeper keeper_;
  std::vector<ArrowColumnSpec> columns_;
  std::vector<int> picture_columns_;
  mutable std::mutex mutex_;  // of what follows
  std::vector<int64_t> first_samples_;
  int64_t num_samples_ = 0;
  std::vector<std::string> damage_;
  std::set<size_t> known_;  // the shards whose damage look_ahead() has found
  ThreadPool pool_;
};

}  // namespace

std::unique_ptr<SampleSource> open_webdataset_samples(std::vector<ShardFile> shards, int num_threads) {
  return std::make_unique<WebDatasetSamples>(std::move(shards), num_threads);
}

}  // namespace millrace
