#include "compat/kohya_data.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "base/files.h"
#include "base/log.h"
#include "base/printable.h"
#include "picture_sets/picture_set.h"
#include "picture_sets/read_document.h"
#include "picture_sets/resolve.h"
#include "picture_sets/trained_options.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Options of the command line go into [general], where the file does not have them. Those that files cannot have are
// options of training.
nlohmann::ordered_json with_command_line(const PlacedValue& document, const PlacedValue& command_line) {
  nlohmann::ordered_json json = to_json(document);
  nlohmann::ordered_json general = json.contains("general") ? json["general"] : nlohmann::ordered_json::object();
  for (const PlacedValue& option : command_line.items) {
    if (option.key == "prior_loss_weight" || option.key == "debug_dataset") continue;
    if (!general.contains(option.key)) general[option.key] = to_json(option);
  }
  json["general"] = general;
  return json;
}

// Paths that the data set file has beside itself, for a file in another folder.
void find_paths(nlohmann::ordered_json& json, const fs::path& root) {
  std::error_code ignored;
  for (nlohmann::ordered_json& dataset : json["datasets"]) {
    if (!dataset.contains("subsets")) continue;
    for (nlohmann::ordered_json& subset : dataset["subsets"]) {
      for (const char* key : {"image_dir", "metadata_file", "conditioning_data_dir"}) {
        if (!subset.contains(key)) continue;
        const fs::path path = subset[key].get<std::string>();
        if (path.is_absolute() || fs::exists(path, ignored) || !fs::exists(root / path, ignored)) continue;
        subset[key] = (root / path).string();
      }
    }
  }
}

// [general], the data sets and their subsets.
std::vector<Json*> tables_of(Json& json) {
  std::vector<Json*> tables = {&json["general"]};
  for (Json& dataset : json["datasets"]) {
    tables.push_back(&dataset);
    if (!dataset.contains("subsets")) continue;
    for (Json& subset : dataset["subsets"]) tables.push_back(&subset);
  }
  return tables;
}

bool has_faces(const DatasetOptions& dataset) {
  return std::any_of(dataset.subsets.begin(), dataset.subsets.end(),
                     [](const SubsetOptions& subset) { return subset.face_crop_aug_range.has_value(); });
}

// A range of [general] stays with the data sets that have no buckets.
void leave_out_faces(Json& json, const std::vector<DatasetOptions>& datasets) {
  constexpr const char* kName = "face_crop_aug_range";
  Json& general = json["general"];
  for (size_t i = 0; i < datasets.size(); ++i) {
    Json& dataset = json["datasets"][i];
    if (!datasets[i].enable_bucket) {
      if (general.contains(kName) && !dataset.contains(kName)) dataset[kName] = general[kName];
      continue;
    }
    dataset.erase(kName);
    if (!dataset.contains("subsets")) continue;
    for (Json& subset : dataset["subsets"]) subset.erase(kName);
  }
  general.erase(kName);
}

// Options that sd-scripts takes and then does not read, which runs here would refuse. Says so in warnings.
bool leave_out_unread(Json& json, const std::vector<DatasetOptions>& datasets, const std::string& place) {
  const auto warn = [&](const std::string& name, const std::string& why) {
    log_warning("[", printable(place), "] ", name, " has no effect on FLUX, there as here: ", why);
  };
  bool changed = false;
  if (std::any_of(datasets.begin(), datasets.end(), [](const auto& each) { return each.network_multiplier != 1; })) {
    for (Json* table : tables_of(json)) table->erase("network_multiplier");
    warn("network_multiplier", "training does not read it");
    changed = true;
  }
  if (std::any_of(datasets.begin(), datasets.end(),
                  [](const auto& each) { return each.enable_bucket && has_faces(each); })) {
    leave_out_faces(json, datasets);
    warn("face_crop_aug_range", "pictures in buckets are not cropped around faces");
    changed = true;
  }
  std::set<std::string> attributes;
  for (Json* table : tables_of(json)) {
    if (!table->contains("custom_attributes")) continue;
    std::vector<std::string> unread;
    for (const auto& [key, value] : (*table)["custom_attributes"].items()) {
      if (!is_custom_attribute(key)) unread.push_back(key);
    }
    for (const std::string& key : unread) (*table)["custom_attributes"].erase(key);
    attributes.insert(unread.begin(), unread.end());
  }
  for (const std::string& key : attributes) warn("custom_attributes." + printable(key), "nothing reads it");
  return changed || !attributes.empty();
}

void multiply_batches(nlohmann::ordered_json& json, int64_t factor) {
  for (nlohmann::ordered_json& dataset : json["datasets"]) {
    if (dataset.contains("batch_size")) dataset["batch_size"] = dataset["batch_size"].get<int64_t>() * factor;
  }
  json["general"]["batch_size"] = json["general"].value("batch_size", int64_t{1}) * factor;
}

}  // namespace

KohyaData::KohyaData(const KohyaArguments& arguments, int64_t world_size) : world_size_(world_size) {
  const DatasetArguments dataset = arguments.dataset();
  PlacedValue document;
  bool is_file = false;
  if (!dataset.dataset_config.empty()) {
    path_ = dataset.dataset_config;
    document = read_document(path_);
    is_file = true;
  } else if (!dataset.in_json.empty()) {
    document = metadata_document(dataset.train_data_dir, dataset.in_json);
  } else if (!dataset.train_data_dir.empty()) {
    std::vector<std::string> ignored;
    document = folder_document(dataset.train_data_dir, dataset.reg_data_dir, ignored);
    for (const std::string& folder : ignored) log_warning(ignored_folder_text(folder));
  } else {
    return;
  }
  const std::string name = is_file ? path_ : dataset.train_data_dir;
  datasets_ = resolve_datasets(document, name, dataset.settings);
  root_ = is_file ? fs::absolute(path_).parent_path().string() : ".";
  seed_ = arguments.integer("seed").value_or(0);
  Json json = with_command_line(document, dataset.settings.command_line);
  const bool leaves_out = leave_out_unread(json, datasets_, name);
  if (!is_file || !dataset.settings.command_line.items.empty() || leaves_out || world_size > 1) {
    document_ = std::move(json);
    find_paths(document_, root_);
    if (world_size > 1) multiply_batches(document_, world_size);
    path_ = (fs::path(arguments.text("output_dir").value_or(".")) / "dataset.json").string();
  }
}

void KohyaData::write() const {
  if (document_.is_null()) return;
  create_folders(fs::path(path_).parent_path());
  write_file_atomically(path_, document_.dump(2) + "\n");
}

bool KohyaData::has_validation_split() const {
  return std::any_of(datasets_.begin(), datasets_.end(),
                     [](const DatasetOptions& dataset) { return dataset.validation_split > 0; });
}

int64_t KohyaData::batch_size() const {
  int64_t most = 1;
  for (const DatasetOptions& dataset : datasets_) most = std::max(most, dataset.batch_size);
  return most;
}

int64_t KohyaData::batches_per_epoch() const {
  if (batches_per_epoch_) return *batches_per_epoch_;
  std::vector<PictureSet> sets;
  int64_t batches = 0;
  for (const DatasetOptions& dataset : datasets_) {
    sets.push_back(read_picture_set(dataset, {.root = root_, .seed = seed_, .num_threads = 2}));
    batches += sets.back().train.num_batches(dataset.batch_size * world_size_);
  }
  check_trainable(sets);
  batches_per_epoch_ = batches;
  return batches;
}

}  // namespace millrace
