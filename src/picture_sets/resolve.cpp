#include "picture_sets/resolve.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/text.h"
#include "picture_sets/check_schema.h"

namespace millrace {
namespace {

using Kind = PlacedValue::Kind;

constexpr std::array kInterpolations = {"lanczos", "nearest", "bilinear", "linear", "bicubic", "cubic", "area", "box"};

// The first of the tables that has the option counts; without any the default stays.
template <typename Owner>
void resolve_options(Owner& owner, std::span<const OptionRow<Owner>> rows,
                     const std::vector<const PlacedValue*>& tables) {
  for (const OptionRow<Owner>& row : rows) {
    for (const PlacedValue* table : tables) {
      const PlacedValue* value = table == nullptr ? nullptr : table->find(row.name);
      if (value == nullptr) continue;
      assign(owner, row.member, *value);
      break;
    }
  }
}

void check_values(const DatasetOptions& dataset, const ResolveSettings& settings, Problems& problems) {
  const auto expect = [&](bool holds, const std::string& where, const std::string& message) {
    if (!holds) problems.add_line("[" + dataset.place + where + "] expected " + message);
  };
  const auto check_interpolation = [&](const std::optional<std::string>& name, const std::string& where) {
    std::vector<std::string> known(kInterpolations.begin(), kInterpolations.end());
    if (!settings.sd_scripts_limits) known.emplace_back(kAreaOrLanczos);
    if (!name || std::find(known.begin(), known.end(), *name) != known.end()) return;
    const std::string near = nearest(*name, known);
    expect(false, where,
           "resize_interpolation of " + join(known, ", ") + ", got \"" + json_escape(*name) + "\"" +
               (near.empty() ? "" : " (try " + near + ")"));
  };
  check_interpolation(dataset.resize_interpolation, "");
  for (size_t i = 0; i < dataset.subsets.size(); ++i) {
    const std::string where = ".subsets[" + std::to_string(i) + "]";
    const SubsetOptions& subset = dataset.subsets[i];
    check_interpolation(subset.resize_interpolation, where);
    expect(!subset.caption_separator.empty(), where, "a caption_separator, got an empty text");
    const auto& range = subset.face_crop_aug_range;
    expect(!range || (*range)[0] <= (*range)[1], where,
           "face_crop_aug_range in order, got its end before its beginning");
  }
  expect(dataset.batch_size > 0, "", "batch_size above 0, got " + std::to_string(dataset.batch_size));
  if (!dataset.resolution) {
    return expect(false, "", "resolution, got none (try resolution = 1024 in [general], or --resolution)");
  }
  BucketRules rules = dataset.bucket_rules();
  try {
    adjust_bucket_limits(rules, dataset.place);
  } catch (const ConfigError& error) {
    return problems.add_line(error.what());
  }
  if (!dataset.enable_bucket) {
    const auto [width, height] = rules.resolution;
    return expect(width % 16 == 0 && height % 16 == 0, "",
                  "a resolution of multiples of 16, got " + size_text(rules.resolution) + " (try " +
                      size_text({std::max<int64_t>(16, width / 16 * 16), std::max<int64_t>(16, height / 16 * 16)}) +
                      ")");
  }
  const int64_t unit = settings.sd_scripts_limits ? 64 : 16;
  expect(dataset.bucket_reso_steps % unit == 0, "",
         "bucket_reso_steps of a multiple of " + std::to_string(unit) + ", got " +
             std::to_string(dataset.bucket_reso_steps) + " (try " +
             std::to_string(std::max(unit, dataset.bucket_reso_steps / unit * unit)) + ")");
}

}  // namespace

std::vector<DatasetOptions> resolve_datasets(const PlacedValue& document, const std::string& file_name,
                                             const ResolveSettings& settings) {
  Problems problems;
  check_schema(document, file_name, settings.masked_loss, problems);
  problems.throw_if_any();
  std::vector<DatasetOptions> datasets;
  const PlacedValue* general = document.find("general");
  const PlacedValue* list = document.find("datasets");
  for (size_t i = 0; list != nullptr && i < list->items.size(); ++i) {
    const PlacedValue& table = list->items[i];
    DatasetOptions dataset;
    const PlacedValue* subsets = table.find("subsets");
    const bool has_subsets = subsets != nullptr && !subsets->items.empty();
    // Without subsets there is nothing to tell the style by; sd-scripts calls it by its last one.
    dataset.style = has_subsets ? find_style(table, settings.masked_loss) : CaptionStyle::kMasks;
    dataset.place = place_text(file_name, table) + " datasets[" + std::to_string(i) + "]";
    resolve_options(dataset, dataset_rows(), {&table, general, &settings.command_line});
    for (size_t j = 0; has_subsets && j < subsets->items.size(); ++j) {
      resolve_options(dataset.subsets.emplace_back(), subset_rows(),
                      {&subsets->items[j], &table, general, &settings.command_line});
    }
    check_values(dataset, settings, problems);
    datasets.push_back(std::move(dataset));
  }
  if (datasets.empty()) problems.add(file_name, "expected at least one data set, got none (try [[datasets]])");
  problems.throw_if_any();
  return datasets;
}

}  // namespace millrace
