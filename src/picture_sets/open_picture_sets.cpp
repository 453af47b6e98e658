#include "picture_sets/open_picture_sets.h"

#include <algorithm>
#include <map>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "picture_sets/dataset_arguments.h"
#include "picture_sets/read_document.h"
#include "picture_sets/resolve.h"
#include "picture_sets/trained_options.h"

namespace millrace {
namespace {

using Kind = PlacedValue::Kind;

void set_integer(PlacedValue& table, const char* name, int64_t value) {
  table.items.push_back({.kind = Kind::kInteger, .integer = value, .key = name});
}

PlacedValue read_sets_document(const std::filesystem::path& path, bool is_folder) {
  std::error_code error;
  if (!is_folder && !std::filesystem::exists(path, error)) {
    throw ConfigError("[" + printable(path.string()) +
                      "] expected a data set file (.toml, .json) or a folder of folders, got no such file or folder");
  }
  if (!is_folder) return read_document(path);
  std::vector<std::string> ignored;
  PlacedValue document = folder_document(path, {}, ignored);
  for (const std::string& folder : ignored) log_warning(ignored_folder_text(folder));
  return document;
}

// Pictures whose headers cannot be read are left out; too many of them are an error.
void check_unreadable(const std::vector<PictureSet>& sets, const std::filesystem::path& path, double max_fraction) {
  int64_t unreadable = 0, all = 0;
  std::string first;
  for (const PictureSet& set : sets) {
    for (const int64_t files : set.num_files) all += files;
    for (const Notice& notice : set.notices.all()) {
      if (notice.kind != "unreadable_picture") continue;
      unreadable += static_cast<int64_t>(notice.places.size());
      if (first.empty()) first = notice_text(notice);
    }
  }
  all += unreadable;
  if (static_cast<double>(unreadable) <= max_fraction * static_cast<double>(all)) return;
  throw DataError("[" + printable(path.string()) + "] expected at most " + format_double("%g", 100 * max_fraction) +
                  " % unreadable pictures, got " + std::to_string(unreadable) + " of " + std::to_string(all) +
                  " (try training.max_bad_samples)\n  " + first);
}

void log_notices(const PictureSet& set) {
  for (const Notice& notice : set.notices.all()) {
    if (!notice.is_fatal) log_warning(notice_text(notice));
  }
}

struct SubsetInfo {
  SubsetOptions options;
  std::vector<PictureFile> files;
};

// Of subsets whose files are to be found faster the next time. A folder has one cache, and so none if two subsets read
// its captions in different ways.
std::vector<SubsetInfo> info_to_write(const std::vector<ListedPictureSet>& listed) {
  const auto way_of = [](const SubsetOptions& subset) {
    return std::tuple(subset.caption_extension, subset.enable_wildcard, subset.class_tokens);
  };
  std::map<std::string, std::set<decltype(way_of(SubsetOptions()))>> ways;
  for (const ListedPictureSet& each : listed) {
    for (const SubsetOptions& subset : each.set.options.subsets) ways[subset.image_dir].insert(way_of(subset));
  }
  std::vector<SubsetInfo> info;
  for (const ListedPictureSet& each : listed) {
    if (each.set.options.style == CaptionStyle::kMetadata) continue;
    for (size_t i = 0; i < each.files.size(); ++i) {
      const SubsetOptions& subset = each.set.options.subsets[i];
      if (subset.cache_info && ways.at(subset.image_dir).size() == 1) info.push_back({subset, each.files[i]});
    }
  }
  return info;
}

// It only saves time: a folder that cannot be written to does without.
void write_info(const std::vector<SubsetInfo>& info, const std::filesystem::path& root) {
  for (const SubsetInfo& each : info) {
    try {
      write_subset_info(each.options, root, each.files);
    } catch (const StorageError& error) {
      log_warning("captions and sizes are not kept for the next start: ", error.what());
    }
  }
}

// Over all data sets, so that a picture that several of them have is not trained on in one and validated on in another.
HeldBack held_back_of(const std::vector<ListedPictureSet>& listed, const std::filesystem::path& path,
                      const OpenSettings& settings) {
  const auto with_split = std::find_if(
      listed.begin(), listed.end(), [](const ListedPictureSet& each) { return each.set.options.validation_split > 0; });
  const bool has_split = with_split != listed.end();
  if (settings.is_validation) return {.keys = {}, .all = !has_split};
  if (settings.held_back <= 0) return {};
  if (has_split) {
    const DatasetOptions& options = with_split->set.options;
    throw ConfigError("[validation.split] expected no validation_split in the data set file with it, got " +
                      format_double("%g", options.validation_split) + " in [" + printable(options.place) + "]");
  }
  std::set<std::string> keys;
  for (const ListedPictureSet& each : listed) {
    for (size_t subset = 0; subset < each.files.size(); ++subset) {
      if (each.set.options.subsets[subset].is_reg) continue;
      for (const PictureFile& file : each.files[subset]) keys.insert(held_back_key(file));
    }
  }
  return keys.empty() ? HeldBack() : choose_held_back(keys, settings.held_back, path.string());
}

}  // namespace

void add_folder_options(PlacedValue& table, int64_t resolution) {
  const int64_t steps = resolution >= 512 ? 64 : 16;
  set_integer(table, "resolution", resolution);
  set_integer(table, "bucket_reso_steps", steps);
  set_integer(table, "min_bucket_reso", std::max(steps, resolution / 2));
  set_integer(table, "max_bucket_reso", 2 * resolution);
  table.items.push_back({.kind = Kind::kBool, .boolean = true, .key = "enable_bucket"});
  table.items.push_back({.kind = Kind::kText, .text = ".txt", .key = "caption_extension"});
}

std::vector<PictureSet> open_picture_sets(const std::filesystem::path& path, const OpenSettings& settings) {
  std::error_code error;
  const bool is_folder = std::filesystem::is_directory(path, error);
  ResolveSettings resolve{.masked_loss = settings.masked_loss, .command_line = {.kind = Kind::kTable}};
  set_integer(resolve.command_line, "batch_size", settings.batch_size);
  resolve.command_line.items.push_back(
      {.kind = Kind::kFloat, .floating = settings.prior_loss_weight, .key = "prior_loss_weight"});
  if (!settings.resize_interpolation.empty()) {
    resolve.command_line.items.push_back(
        {.kind = Kind::kText, .text = settings.resize_interpolation, .key = "resize_interpolation"});
  }
  if (is_folder) add_folder_options(resolve.command_line, settings.resolution);
  const std::vector<DatasetOptions> datasets =
      resolve_datasets(read_sets_document(path, is_folder), path.string(), resolve);
  check_options_are_trained(datasets);

  const std::filesystem::path root =
      is_folder ? std::filesystem::path(".") : std::filesystem::absolute(path).parent_path();
  const ReadSettings read{root, settings.seed, settings.num_threads};
  std::vector<ListedPictureSet> listed;
  for (const DatasetOptions& dataset : datasets) listed.push_back(list_picture_set(dataset, read));
  const std::vector<SubsetInfo> info = settings.writes_info ? info_to_write(listed) : std::vector<SubsetInfo>();
  const HeldBack held_back = held_back_of(listed, path, settings);
  std::vector<PictureSet> sets;
  for (ListedPictureSet& each : listed) {
    sets.push_back(fill_picture_set(std::move(each), read, held_back));
    log_notices(sets.back());
  }
  check_unreadable(sets, path, settings.max_bad_fraction);
  check_trainable(sets, settings.is_validation);
  write_info(info, root);  // only now: what is read from this cache at the next start is not checked again
  return sets;
}

int64_t largest_batch(const std::vector<PictureSet>& sets) {
  int64_t largest = 0;
  for (const PictureSet& set : sets) largest = std::max(largest, set.options.batch_size);
  return largest;
}

}  // namespace millrace
