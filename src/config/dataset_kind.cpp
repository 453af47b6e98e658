#include "data/dataset_kind.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "data/dummy_shard.h"

namespace millrace {
namespace {

constexpr std::array kKinds = std::to_array<DatasetKind>({
    // name                  encoded  timesteps  subset  usual path
    {"webdataset", false, false, 0, ""},
    {"preprocessed", true, false, 0, ""},
    {"cc12m_wds", false, false, 0, "/dataset/cc12m-wds"},
    {"cc12m-wds", false, false, 0, "/dataset/cc12m-wds"},
    {"cc12m_wds_30k", false, false, 30000, "/dataset/cc12m-wds"},
    {"cc12m_disk", false, false, 0, "/dataset/cc12m_disk"},
    {"cc12m_preprocessed", true, false, 0, "/dataset/cc12m_preprocessed"},
    {"cc12m_test", false, false, 0, ""},
    {"cc12m-test", false, false, 0, ""},
    {"cc12m-test-validation", false, false, 0, ""},
    {"coco", false, true, 0, "/dataset/coco"},
    {"coco_preprocessed", true, true, 0, "/dataset/coco_preprocessed"},
    {"coco-validation", false, false, 0, ""},
    {"dummy", false, true, 0, ""},
});

}  // namespace

const DatasetKind& find_dataset_kind(const std::string& name) {
  const auto found =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const DatasetKind& kind) { return name == kind.name; });
  if (found != kKinds.end()) return *found;
  std::string names;
  for (const DatasetKind& kind : kKinds) names += (names.empty() ? "" : ", ") + std::string(kind.name);
  throw ConfigError("[dataset] expected one of " + names + ", got '" + name + "'");
}

std::vector<ShardFile> list_dataset(const DatasetKind& kind, const std::string& path, const std::string& key) {
  if (std::string(kind.name) == "dummy") return dummy_shards();
  const std::string place = path.empty() ? kind.usual_path : path;
  if (place.empty()) throw ConfigError("[" + key + "] expected files, a folder or a pattern, got nothing");
  return list_shards({place});
}

}  // namespace millrace
