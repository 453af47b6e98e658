#include "picture_sets/trained_options.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/problems.h"

namespace millrace {
namespace {

constexpr const char *kPreservation = "diff_output_preservation", *kTimes = "timestep_sampling", *kOffset = "offset";

bool is_trained_attribute(const std::string& key, const nlohmann::ordered_json& value) {
  if (key == kPreservation) return value.is_boolean();
  if (key != kTimes || !value.is_object()) return false;
  return value.size() == 1 && value.contains(kOffset) && value.at(kOffset).is_number() &&
         std::isfinite(value.at(kOffset).get<double>());
}

// Every name that a data set file may have (resolve.cpp) but for kAreaOrLanczos.
Filter filter_named(const std::string& name) {
  constexpr std::array kFilters = std::to_array<std::pair<std::string_view, Filter>>({
      {"bicubic", Filter::kBicubic},
      {"cubic", Filter::kBicubic},
      {"bilinear", Filter::kBilinear},
      {"linear", Filter::kBilinear},
      {"lanczos", Filter::kLanczos},
      {"box", Filter::kBox},
      {"area", Filter::kArea},
      {"nearest", Filter::kNearest},
  });
  const auto* found =
      std::find_if(kFilters.begin(), kFilters.end(), [&](const auto& row) { return row.first == name; });
  MILLRACE_CHECK(found != kFilters.end());
  return found->second;
}

const std::optional<std::string>& interpolation_of(const DatasetOptions& dataset, const SubsetOptions& subset) {
  return subset.resize_interpolation ? subset.resize_interpolation : dataset.resize_interpolation;
}

}  // namespace

Filter trained_filter(const DatasetOptions& dataset, const SubsetOptions& subset, const PictureSize& from,
                      const PictureSize& to) {
  const std::optional<std::string>& name = interpolation_of(dataset, subset);
  if (!name) return Filter::kBicubic;
  if (*name != kAreaOrLanczos) return filter_named(*name);
  return to.width <= from.width && to.height <= from.height ? Filter::kArea : Filter::kLanczos;
}

bool is_custom_attribute(const std::string& key) {
  return key == kPreservation || key == kTimes;
}

bool preserves_output(const SubsetOptions& subset) {
  return subset.custom_attributes.is_object() && subset.custom_attributes.value(kPreservation, false);
}

double timestep_offset(const SubsetOptions& subset) {
  if (!subset.custom_attributes.is_object() || !subset.custom_attributes.contains(kTimes)) return 0;
  return subset.custom_attributes.at(kTimes).at(kOffset).get<double>();
}

void check_options_are_trained(const std::vector<DatasetOptions>& datasets) {
  Problems problems;
  for (const DatasetOptions& dataset : datasets) {
    const auto refuse = [&](bool is_set, const std::string& where, const std::string& expected,
                            const std::string& got) {
      if (is_set) problems.add_line("[" + dataset.place + where + "] expected " + expected + ", got " + got);
    };
    refuse(dataset.network_multiplier != 1, "", "network_multiplier = 1.0, which is how adapters are trained here",
           format_double("%g", dataset.network_multiplier));
    refuse(dataset.debug_dataset, "", "debug_dataset = false", "true (try millrace inspect)");
    for (size_t i = 0; i < dataset.subsets.size(); ++i) {
      const SubsetOptions& subset = dataset.subsets[i];
      const std::string where = ".subsets[" + std::to_string(i) + "]";
      const auto& faces = subset.face_crop_aug_range;
      refuse(faces && dataset.enable_bucket, where,
             "enable_bucket = false with face_crop_aug_range, which sd-scripts leaves out with buckets", "true");
      refuse(faces && (*faces)[0] <= 0, where, "face_crop_aug_range above 0",
             format_double("%g", faces ? (*faces)[0] : 0));
      for (const auto& [key, value] : subset.custom_attributes.items()) {
        refuse(!is_trained_attribute(key, value), where,
               str("no custom_attributes but ", kPreservation, ", true or false, and ", kTimes, " = { ", kOffset,
                   " = NUMBER }, since no other has an effect here"),
               str(key, " = ", value.dump()));
      }
    }
  }
  problems.throw_if_any();
}

}  // namespace millrace
