#include "data/dataset_kind.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::array kKinds = std::to_array<DatasetKind>({
    // name, encoded, timesteps, subset, default path
    {"webdataset", false, false, 0, ""},
    {.name = "pictures",
     .is_encoded = false,
     .needs_timesteps = false,
     .subset_size = 0,
     .default_path = "",
     .is_picture_set = true},
    {"preprocessed", true, false, 0, ""},
    {"cc12m_wds", false, false, 0, "/dataset/cc12m-wds"},
    {"cc12m-wds", false, false, 0, "/dataset/cc12m-wds"},
    {"cc12m_test", false, false, 0, ""},
    {"cc12m-test", false, false, 0, ""},
    {"cc12m_disk", false, false, 0, "/dataset/cc12m_disk"},
    {"cc12m_preprocessed", true, false, 0, "/dataset/cc12m_preprocessed"},
    {"cc12m_wds_30k", false, false, 30000, "/dataset/cc12m-wds"},
    {.name = "cc12m-test-validation",
     .is_encoded = false,
     .needs_timesteps = false,
     .subset_size = 0,
     .default_path = "",
     .is_for_validation = true},
    {"coco", false, true, 0, "/dataset/coco"},
    {"coco_preprocessed", true, true, 0, "/dataset/coco_preprocessed"},
    {"coco-validation", false, false, 0, ""},
    {.name = "dummy",
     .is_encoded = false,
     .needs_timesteps = true,
     .subset_size = 0,
     .default_path = "",
     .is_synthetic = true},
});

}  // namespace

const DatasetKind& find_dataset_kind(const std::string& name) {
  const auto found =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const DatasetKind& kind) { return name == kind.name; });
  if (found != kKinds.end()) return *found;
  std::vector<std::string> names;
  for (const DatasetKind& kind : kKinds) names.emplace_back(kind.name);
  throw ConfigError("[dataset] expected one of " + join(names, ", ") + ", got '" + name + "'");
}

std::vector<const char*> training_dataset_names() {
  std::vector<const char*> names;
  for (const DatasetKind& kind : kKinds) {
    if (!kind.is_for_validation) names.push_back(kind.name);
  }
  return names;
}

std::vector<const char*> validation_dataset_names() {
  std::vector<const char*> names = {""};
  for (const DatasetKind& kind : kKinds) names.push_back(kind.name);
  return names;
}

}  // namespace millrace
