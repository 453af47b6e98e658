#include "picture_sets/check_schema.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/text.h"
#include "formats/quote.h"
#include "picture_sets/read_document.h"

namespace millrace {
namespace {

using Kind = PlacedValue::Kind;

bool is_whole(const PlacedValue& value) {  // true and false are whole numbers in Python
  return value.is(Kind::kInteger) || value.is(Kind::kBool);
}
bool is_number(const PlacedValue& value, bool takes_whole_numbers) {
  return value.is(Kind::kFloat) || (takes_whole_numbers && is_whole(value));
}
int64_t whole(const PlacedValue& value) {
  return value.is(Kind::kBool) ? static_cast<int64_t>(value.boolean) : value.integer;
}
double number(const PlacedValue& value) {
  return value.is(Kind::kFloat) ? value.floating : static_cast<double>(whole(value));
}

bool is_pair(const PlacedValue& value, const std::function<bool(const PlacedValue&)>& is_right) {
  return value.is(Kind::kList) && value.items.size() == 2 &&
         std::all_of(value.items.begin(), value.items.end(), is_right);
}

// What the member's type wants of a value, as "true or false"; nullptr: the value will do.
template <typename Owner>
const char* type_problem(const OptionRow<Owner>& row, const PlacedValue& value) {
  struct Visitor {
    const OptionRow<Owner>& row;
    const PlacedValue& value;
    const char* unless(bool fits, const char* expected) const { return fits ? nullptr : expected; }

    const char* operator()(bool Owner::*) const { return unless(value.is(Kind::kBool), "true or false"); }
    const char* operator()(int64_t Owner::*) const { return unless(is_whole(value), "a whole number"); }
    const char* operator()(std::optional<int64_t> Owner::*) const { return unless(is_whole(value), "a whole number"); }
    const char* operator()(double Owner::*) const {
      if (!is_number(value, row.takes_whole_numbers)) {
        return row.takes_whole_numbers ? "a number" : "a number with a decimal point, such as 1.0";
      }
      const double n = number(value);
      if (row.is_share) return unless(n >= 0 && n <= 1, "a number from 0 to 1");
      return unless(std::isfinite(n), "a finite number");
    }
    const char* operator()(std::string Owner::*) const { return unless(value.is(Kind::kText), "a text"); }
    const char* operator()(std::optional<std::string> Owner::*) const {
      return unless(value.is(Kind::kText), "a text");
    }
    const char* operator()(std::optional<std::array<double, 2>> Owner::*) const {
      return unless(is_pair(value, [](const PlacedValue& item) { return is_number(item, false); }),
                    "two numbers with decimal points, such as [1.0, 3.0]");
    }
    const char* operator()(std::optional<std::array<int64_t, 2>> Owner::*) const {
      return unless(is_whole(value) || is_pair(value, is_whole), "a whole number, or two: [width, height]");
    }
    const char* operator()(nlohmann::ordered_json Owner::*) const { return unless(value.is(Kind::kTable), "a table"); }
  };
  return std::visit(Visitor{row, value}, row.member);
}

enum class Level { kGeneral, kDataset, kSubset };

class Checker {
 public:
  Checker(const std::string& file_name, Problems& problems) : file_name_(file_name), problems_(problems) {}

  void add(const PlacedValue& at, const std::string& where, const std::string& message) {
    problems_.add_line("[" + place_text(file_name_, at) + "] " + (where.empty() ? "" : where + ": ") + message);
  }

  // Every member of a table but those in others.
  void check_options(const PlacedValue& table, const std::string& where, Level level, CaptionStyle style,
                     const std::vector<std::string>& others) {
    std::vector<std::string> known = others;
    for (const auto& row : dataset_rows()) {
      if (level != Level::kSubset && row.place == OptionPlace::kDataset) known.emplace_back(row.name);
    }
    for (const auto& row : subset_rows()) {
      if (is_option(row, level, style)) known.emplace_back(row.name);
    }
    for (const PlacedValue& member : table.items) {
      if (std::find(others.begin(), others.end(), member.key) != others.end()) continue;
      if (std::find(known.begin(), known.end(), member.key) == known.end()) {
        add(member, where, "expected a known option, got " + in_quotes(member.key) + hint(member.key, known, level));
        continue;
      }
      const char* expected = nullptr;
      for (const auto& row : dataset_rows()) {
        if (level != Level::kSubset && member.key == row.name) expected = type_problem(row, member);
      }
      for (const auto& row : subset_rows()) {
        if (is_option(row, level, style) && member.key == row.name) expected = type_problem(row, member);
      }
      if (expected != nullptr) {
        add(member, where, member.key + ": expected " + expected + ", got " + describe(member));
      }
    }
  }

 private:
  static bool is_option(const OptionRow<SubsetOptions>& row, Level level, CaptionStyle style) {
    if (row.place == OptionPlace::kDataset || row.place == OptionPlace::kCommandLine) return false;
    if (row.place == OptionPlace::kOnlyInSubset && level != Level::kSubset) return false;
    return level == Level::kGeneral || subset_has(style, row);
  }

  std::string hint(const std::string& key, const std::vector<std::string>& known, Level level) const {
    if (key == "interpolation_type") return " (try resize_interpolation)";
    if (key == "conditioning_data_dir") return " (try --masked_loss, which makes it one)";
    for (const auto& row : subset_rows()) {
      if (level != Level::kSubset && key == row.name) return ", which belongs to a subset (try [[datasets.subsets]])";
      if (level == Level::kSubset && key == row.name) return ", which data sets of this kind do not have";
    }
    for (const auto& row : dataset_rows()) {
      if (key == row.name && row.place == OptionPlace::kCommandLine) return " (try --" + key + " on the command line)";
      if (key == row.name && level == Level::kSubset) return ", which belongs to a data set (try [[datasets]])";
    }
    // A part of a longer name, as in "repeats" for num_repeats, else a misspelling.
    std::string found = nearest(key, known);
    for (const std::string& name : known) {
      if (found.empty() && key.size() >= 4 && name.find(key) != std::string::npos) found = name;
    }
    return found.empty() ? " (options here: " + join(known, ", ") + ")" : " (try " + found + ")";
  }

  std::string file_name_;
  Problems& problems_;
};

std::vector<const PlacedValue*> subsets_of(const PlacedValue& dataset) {
  std::vector<const PlacedValue*> subsets;
  const PlacedValue* list = dataset.find("subsets");
  if (list == nullptr || !list->is(Kind::kList)) return subsets;
  for (const PlacedValue& subset : list->items) subsets.push_back(&subset);
  return subsets;
}

void check_dataset(const PlacedValue& dataset, const std::string& where, bool masked_loss, Checker& checker) {
  if (!dataset.is(Kind::kTable)) return checker.add(dataset, where, "expected a table, got " + describe(dataset));
  const PlacedValue* list = dataset.find("subsets");
  if (list != nullptr && !list->is(Kind::kList)) {
    return checker.add(*list, where, "subsets: expected a list of tables, got " + describe(*list));
  }
  const std::vector<const PlacedValue*> subsets = subsets_of(dataset);
  size_t with_metadata = 0;
  for (const PlacedValue* subset : subsets) with_metadata += subset->find("metadata_file") != nullptr;
  const CaptionStyle style = find_style(dataset, masked_loss);
  if (style == CaptionStyle::kCaptionFiles && with_metadata != 0) {
    return checker.add(dataset, where,
                       "expected subsets with metadata_file or without, got both (try a data set for each kind)");
  }
  checker.check_options(dataset, where, Level::kDataset, style, {"subsets"});
  for (size_t i = 0; i < subsets.size(); ++i) {
    const PlacedValue& subset = *subsets[i];
    const std::string subset_where = where + ".subsets[" + std::to_string(i) + "]";
    if (!subset.is(Kind::kTable)) {
      checker.add(subset, subset_where, "expected a table, got " + describe(subset));
      continue;
    }
    checker.check_options(subset, subset_where, Level::kSubset, style, {});
    if (style != CaptionStyle::kMetadata && subset.find("image_dir") == nullptr) {
      checker.add(subset, subset_where, "expected image_dir, got none");
    }
  }
}

}  // namespace

std::string place_text(const std::string& file_name, const PlacedValue& value) {
  if (value.place.line == 0) return file_name;
  const std::string line = file_name + ":" + std::to_string(value.place.line);
  return value.place.column == 0 ? line : line + ":" + std::to_string(value.place.column);
}

CaptionStyle find_style(const PlacedValue& dataset, bool masked_loss) {
  const std::vector<const PlacedValue*> subsets = subsets_of(dataset);
  const auto all_have = [&](const char* key) {
    return std::all_of(subsets.begin(), subsets.end(),
                       [&](const PlacedValue* subset) { return subset->find(key) != nullptr; });
  };
  if (masked_loss && all_have("conditioning_data_dir")) return CaptionStyle::kMasks;
  return all_have("metadata_file") ? CaptionStyle::kMetadata : CaptionStyle::kCaptionFiles;
}

void check_schema(const PlacedValue& document, const std::string& file_name, bool masked_loss, Problems& problems) {
  Checker checker(file_name, problems);
  if (!document.is(Kind::kTable)) {
    return checker.add(document, "", "expected a table with datasets, got " + describe(document));
  }
  for (const PlacedValue& member : document.items) {
    if (member.key == "general") {
      if (member.is(Kind::kTable)) {
        checker.check_options(member, "general", Level::kGeneral, CaptionStyle::kCaptionFiles, {});
      } else {
        checker.add(member, "", "general: expected a table, got " + describe(member));
      }
    } else if (member.key == "datasets") {
      if (!member.is(Kind::kList)) {
        checker.add(member, "", "datasets: expected a list of tables, got " + describe(member) + " (try [[datasets]])");
        continue;
      }
      for (size_t i = 0; i < member.items.size(); ++i) {
        check_dataset(member.items[i], "datasets[" + std::to_string(i) + "]", masked_loss, checker);
      }
    } else {
      checker.add(member, "", "expected general or datasets, got " + in_quotes(member.key));
    }
  }
}

template <typename Owner>
void assign(Owner& owner, const Member<Owner>& member, const PlacedValue& value) {
  struct Visitor {
    Owner& owner;
    const PlacedValue& value;
    void operator()(bool Owner::*pointer) const { owner.*pointer = value.boolean; }
    void operator()(int64_t Owner::*pointer) const { owner.*pointer = whole(value); }
    void operator()(std::optional<int64_t> Owner::*pointer) const { owner.*pointer = whole(value); }
    void operator()(double Owner::*pointer) const { owner.*pointer = number(value); }
    void operator()(std::string Owner::*pointer) const { owner.*pointer = value.text; }
    void operator()(std::optional<std::string> Owner::*pointer) const { owner.*pointer = value.text; }
    void operator()(std::optional<std::array<double, 2>> Owner::*pointer) const {
      owner.*pointer = std::array<double, 2>{number(value.items[0]), number(value.items[1])};
    }
    void operator()(std::optional<std::array<int64_t, 2>> Owner::*pointer) const {
      const bool is_square = !value.is(Kind::kList);
      owner.*pointer =
          std::array<int64_t, 2>{whole(is_square ? value : value.items[0]), whole(is_square ? value : value.items[1])};
    }
    void operator()(nlohmann::ordered_json Owner::*pointer) const { owner.*pointer = to_json(value); }
  };
  std::visit(Visitor{owner, value}, member);
}
template void assign(SubsetOptions&, const Member<SubsetOptions>&, const PlacedValue&);
template void assign(DatasetOptions&, const Member<DatasetOptions>&, const PlacedValue&);

}  // namespace millrace
