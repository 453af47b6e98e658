// WebDataset shards as load_dataset("webdataset") shows them: one column for each file of a sample, typed by its
// extension, then __key__ and __url__.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "data/prepare/raw_shard.h"
#include "data/prepare/sample_source.h"
#include "data/prepare/webdataset_fields.h"
#include "data/prepare/webdataset_files.h"
#include "formats/json.h"
#include "formats/quote.h"

namespace millrace {
namespace {

constexpr size_t kSamplesForTypes = 5;  // as many as `datasets` looks at
constexpr size_t kMaxFields = 1000;

using ShardPointer = std::shared_ptr<const RawShard>;

// The shards used last stay open.
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
    const auto opened = std::make_shared<const RawShard>(shards_[shard].path);
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
  WebDatasetSamples(const std::string& path, int num_threads)
      : shards_(webdataset_train_files(path)),
        keeper_(shards_, 2 * static_cast<size_t>(num_threads) + 2),
        pool_(num_threads) {
    find_columns();
  }

  const std::vector<ArrowColumnSpec>& columns() const override { return columns_; }
  const std::vector<int>& picture_columns() const override { return picture_columns_; }
  uint64_t fingerprint() const override { return millrace::fingerprint(shards_); }
  std::vector<std::string> damage() const override {
    const std::lock_guard lock(mutex_);
    return damage_;
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
        if (!counted.damage.empty()) damage_.push_back(shards_[shard].path.string() + ": " + counted.damage);
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
    for (size_t i = 0; i < entry->files.size(); ++i) {
      for (size_t j = 0; j < i; ++j) {
        if (entry->files[i].field == entry->files[j].field)
          throw DataError(str("[", sample.name, "] expected each kind of file once, got two ", entry->files[i].field));
      }
    }
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
    return std::filesystem::absolute(shard.path()).lexically_normal().string();
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
    return {opened, &opened->entries()[entry]};
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
      auto& value = sample.values.emplace_back(parse_ordered_json<DataError>(content, place));
      check_json_fits(value, column.json, place);
      sample.cells.emplace_back(&value);
    } else {
      sample.cells.emplace_back(std::as_bytes(std::span(content)));
    }
  }

  // As `datasets` does: from the first samples of the first shard.
  void find_columns() {
    const ShardPointer first = keeper_.get(0);
    if (first->entries().empty())
      throw DataError(
          str("[", first->path().string(), "] expected samples, got none (name them KEY.jpg, KEY.txt ...)"));
    const size_t looked_at = std::min(kSamplesForTypes, first->entries().size());
    std::map<std::string, JsonType> json_types;
    for (size_t i = 0; i < looked_at; ++i) {
      const RawEntry& entry = first->entries()[i];
      if (i == 0) {
        if (entry.files.size() > kMaxFields)
          throw DataError(
              str("[", first->describe(0), "] expected at most ", kMaxFields, " files, got ", entry.files.size()));
        for (const RawFile& file : entry.files) add_column(file.field, first->path().string());
      }
      const bool has_all = entry.files.size() == first->entries()[0].files.size() &&
                           std::all_of(entry.files.begin(), entry.files.end(),
                                       [&](const RawFile& file) { return find_column(file.field) != nullptr; });
      if (!has_all) {
        throw DataError(str("[", first->describe(i),
                            "] expected the same kinds of files as the first sample has, got others ",
                            "(each of the first ", kSamplesForTypes, " samples tells the columns)"));
      }
      for (const RawFile& file : entry.files) {
        if (field_kind(file.field) != FieldKind::kJson) continue;
        const std::string place = first->describe(i) + "." + file.field;
        std::string content;
        first->read(file, content);
        const JsonType type = json_type_of(parse_ordered_json<DataError>(content, place), place);
        json_types[file.field] = common_json_type(json_types[file.field], type, place);
      }
      if (i == 0) {
        columns_.push_back({"__key__", ArrowType::kString});
        columns_.push_back({"__url__", ArrowType::kString});
      }
    }
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i].type == ArrowType::kJson) columns_[i].json = json_types[columns_[i].name];
      if (columns_[i].type == ArrowType::kImage) picture_columns_.push_back(static_cast<int>(i));
    }
  }

  const ArrowColumnSpec* find_column(const std::string& name) const {
    const auto found = std::find_if(columns_.begin(), columns_.end(),
                                    [&](const ArrowColumnSpec& column) { return column.name == name; });
    return found == columns_.end() ? nullptr : &*found;
  }

  void add_column(const std::string& field, const std::string& place) {
    if (find_column(field)) throw DataError(str("[", place, "] expected each kind of file once, got two ", field));
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
  ThreadPool pool_;
};

}  // namespace

std::unique_ptr<SampleSource> open_webdataset_samples(const std::string& path, int num_threads) {
  return std::make_unique<WebDatasetSamples>(path, num_threads);
}

}  // namespace millrace
