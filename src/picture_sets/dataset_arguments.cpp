#include "picture_sets/dataset_arguments.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <system_error>

#include "base/error.h"
#include "base/printable.h"
#include "base/text.h"
#include "config/number_text.h"
#include "picture_sets/caption_files.h"
#include "picture_sets/notices.h"
#include "picture_sets/option_rows.h"

namespace millrace {
namespace {

using Kind = PlacedValue::Kind;

struct Alias {
  const char* argument;
  const char* option;
};
constexpr Alias kAliases[] = {
    {"train_batch_size", "batch_size"},
    {"dataset_repeats", "num_repeats"},
    {"caption_extention", "caption_extension"},  // a misspelling that sd-scripts keeps
};
// Options that only files have.
constexpr std::array kOnlyInFiles = {"image_dir",         "metadata_file", "conditioning_data_dir", "is_reg",
                                     "custom_attributes", "class_tokens",  "network_multiplier",    "batch_size",
                                     "num_repeats"};

PlacedValue text_value(std::string key, std::string text) {
  return {.kind = Kind::kText, .text = std::move(text), .key = std::move(key)};
}

std::optional<PlacedValue> value_of(const std::optional<int64_t>& number) {
  if (!number) return std::nullopt;
  return PlacedValue{.kind = Kind::kInteger, .integer = *number};
}
std::optional<PlacedValue> value_of(const std::optional<double>& number) {
  if (!number) return std::nullopt;
  return PlacedValue{.kind = Kind::kFloat, .floating = *number};
}

// The value that a word on the command line means for an option; nullopt: it is no such value.
template <typename Owner>
struct WordVisitor {
  const std::string& word;

  // Two numbers between commas, or one for both.
  template <typename Parse>
  std::optional<PlacedValue> pair(Parse parse, bool may_be_one) const {
    PlacedValue list{.kind = Kind::kList};
    for (const std::string& part : split(word, ',')) {
      const std::optional<PlacedValue> item = value_of(parse(trim(part)));
      if (!item) return std::nullopt;
      list.items.push_back(*item);
    }
    if (list.items.size() == 1 && may_be_one) list.items.push_back(PlacedValue(list.items[0]));
    return list.items.size() == 2 ? std::optional(list) : std::nullopt;
  }

  std::optional<PlacedValue> operator()(bool Owner::*) const {
    return PlacedValue{.kind = Kind::kBool, .boolean = true};
  }
  std::optional<PlacedValue> operator()(int64_t Owner::*) const { return value_of(parse_integer(word)); }
  std::optional<PlacedValue> operator()(std::optional<int64_t> Owner::*) const { return value_of(parse_integer(word)); }
  std::optional<PlacedValue> operator()(double Owner::*) const { return value_of(parse_floating_point(word)); }
  std::optional<PlacedValue> operator()(std::string Owner::*) const { return text_value("", word); }
  std::optional<PlacedValue> operator()(std::optional<std::string> Owner::*) const { return text_value("", word); }
  std::optional<PlacedValue> operator()(std::optional<std::array<double, 2>> Owner::*) const {
    return pair([](std::string_view part) { return parse_floating_point(part); }, false);
  }
  std::optional<PlacedValue> operator()(std::optional<std::array<int64_t, 2>> Owner::*) const {
    return pair([](std::string_view part) { return parse_integer(part); }, true);
  }
  std::optional<PlacedValue> operator()(nlohmann::ordered_json Owner::*) const { return std::nullopt; }
};

template <typename Owner>
const OptionRow<Owner>* find_row(std::span<const OptionRow<Owner>> rows, const std::string& name) {
  for (const OptionRow<Owner>& row : rows) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

class Words {
 public:
  explicit Words(const std::vector<std::string>& args) : args_(args) {}
  bool done() const { return next_ == args_.size(); }
  const std::string& take() { return args_[next_++]; }

  // The value of --name or --name=VALUE.
  std::string value_of(const std::string& word) {
    const size_t equals = word.find('=');
    if (equals != std::string::npos) return word.substr(equals + 1);
    if (done()) throw ConfigError("[" + word + "] expected a value, got nothing");
    return take();
  }

 private:
  const std::vector<std::string>& args_;
  size_t next_ = 0;
};

template <typename Owner>
bool take_option(const OptionRow<Owner>* row, const std::string& word, Words& words, PlacedValue& table) {
  if (row == nullptr) return false;
  const bool is_flag = std::holds_alternative<bool Owner::*>(row->member);
  const std::string text = is_flag ? "" : words.value_of(word);
  std::optional<PlacedValue> value = std::visit(WordVisitor<Owner>{text}, row->member);
  if (!value) {
    throw ConfigError("[" + word.substr(0, word.find('=')) + "] expected a value for " + row->name + ", got \"" +
                      json_escape(text) + "\"");
  }
  value->key = row->name;
  table.items.push_back(std::move(*value));  // where an option is given twice, the last counts
  if (table.items.size() > 1) std::rotate(table.items.begin(), table.items.end() - 1, table.items.end());
  return true;
}

// What Python's int() makes of the text.
int64_t repeats_in(std::string_view text) {
  return parse_integer(trim(text)).value_or(0);
}

// The part in front of the first underscore of a folder's name; below 1: none.
int64_t repeats_of_folder(const std::string& name) {
  return repeats_in(std::string_view(name).substr(0, name.find('_')));
}

void add_folders(const std::filesystem::path& folder, bool is_reg, PlacedValue& subsets,
                 std::vector<std::string>& ignored) {
  if (folder.empty()) return;
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    throw DataError("[" + printable(folder.string()) + "] expected a folder, got " +
                    (std::filesystem::exists(folder, error) ? "a file" : "no such folder"));
  }
  std::vector<std::filesystem::path> folders;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_directory(error)) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  for (const std::filesystem::path& path : folders) {
    const std::string name = path.filename().string();
    const size_t underscore = name.find('_');
    const int64_t repeats = repeats_of_folder(name);
    if (repeats < 1) {
      ignored.push_back(path.string());
      continue;
    }
    PlacedValue subset{.kind = Kind::kTable};
    subset.items.push_back(text_value("image_dir", path.string()));
    subset.items.push_back({.kind = Kind::kInteger, .integer = repeats, .key = "num_repeats"});
    subset.items.push_back({.kind = Kind::kBool, .boolean = is_reg, .key = "is_reg"});
    subset.items.push_back(
        text_value("class_tokens", underscore == std::string::npos ? "" : name.substr(underscore + 1)));
    subsets.items.push_back(std::move(subset));
  }
}

PlacedValue document_of(PlacedValue subsets) {
  subsets.key = "subsets";
  PlacedValue dataset{.kind = Kind::kTable};
  dataset.items.push_back(std::move(subsets));
  PlacedValue datasets{.kind = Kind::kList, .key = "datasets"};
  datasets.items.push_back(std::move(dataset));
  PlacedValue document{.kind = Kind::kTable};
  document.items.push_back(std::move(datasets));
  return document;
}

}  // namespace

DatasetArguments parse_dataset_arguments(const std::vector<std::string>& args) {
  DatasetArguments parsed;
  PlacedValue& table = parsed.settings.command_line;
  table.kind = Kind::kTable;
  const std::pair<const char*, std::string*> paths[] = {{"dataset_config", &parsed.dataset_config},
                                                        {"train_data_dir", &parsed.train_data_dir},
                                                        {"reg_data_dir", &parsed.reg_data_dir},
                                                        {"in_json", &parsed.in_json}};
  for (Words words(args); !words.done();) {
    const std::string& word = words.take();
    std::string name =
        starts_with(word, "--")
            ? word.substr(2, word.find('=') == std::string::npos ? std::string::npos : word.find('=') - 2)
            : "";
    if (word == "--masked_loss") {
      parsed.settings.masked_loss = true;
      continue;
    }
    const auto* path = std::find_if(std::begin(paths), std::end(paths), [&](const auto& p) { return name == p.first; });
    if (path != std::end(paths)) {
      *path->second = words.value_of(word);
      continue;
    }
    const bool is_other = std::find(kOnlyInFiles.begin(), kOnlyInFiles.end(), name) != kOnlyInFiles.end();
    for (const Alias& alias : kAliases) {
      if (name == alias.argument) name = alias.option;
    }
    if (is_other || (!take_option(find_row(subset_rows(), name), word, words, table) &&
                     !take_option(find_row(dataset_rows(), name), word, words, table))) {
      parsed.rest.push_back(word);
    }
  }
  return parsed;
}

std::vector<std::string> dataset_argument_names() {
  std::vector<std::string> names = {"--dataset_config", "--train_data_dir", "--reg_data_dir", "--in_json",
                                    "--masked_loss"};
  const auto add = [&](const std::string& name) {
    if (std::find(kOnlyInFiles.begin(), kOnlyInFiles.end(), name) == kOnlyInFiles.end()) names.push_back("--" + name);
  };
  for (const Alias& alias : kAliases) add(alias.argument);
  for (const auto& row : subset_rows()) add(row.name);
  for (const auto& row : dataset_rows()) add(row.name);
  return names;
}

PlacedValue folder_document(const std::filesystem::path& train_data_dir, const std::filesystem::path& reg_data_dir,
                            std::vector<std::string>& ignored) {
  PlacedValue subsets{.kind = Kind::kList};
  add_folders(train_data_dir, false, subsets, ignored);
  if (subsets.items.empty()) {
    throw DataError(
        "[" + printable(train_data_dir.string()) +
        "] expected folders named after repeats and words, such as 10_cat, got none (try moving the pictures "
        "into 1_" +
        printable(train_data_dir.lexically_normal().filename().string()) + ", or a data set file)");
  }
  add_folders(reg_data_dir, true, subsets, ignored);
  return document_of(std::move(subsets));
}

bool has_picture_folders(const std::filesystem::path& folder) {
  std::error_code error;
  Notices unused;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code of_entry;
    if (!at->is_directory(of_entry) || repeats_of_folder(at->path().filename().string()) < 1) continue;
    if (!list_picture_names(at->path(), "", unused).empty()) return true;
  }
  return false;
}

std::string ignored_folder_text(const std::string& folder) {
  return "[" + printable(folder) +
         "] expected a folder's name to begin with its repeats, such as 10_, got none: left out";
}

PlacedValue metadata_document(const std::string& image_dir, const std::string& metadata_file) {
  PlacedValue subset{.kind = Kind::kTable};
  subset.items.push_back(text_value("image_dir", image_dir));
  subset.items.push_back(text_value("metadata_file", metadata_file));
  PlacedValue subsets{.kind = Kind::kList};
  subsets.items.push_back(std::move(subset));
  return document_of(std::move(subsets));
}

}  // namespace millrace
