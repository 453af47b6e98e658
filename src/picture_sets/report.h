// What a data set of pictures is: as JSON for programs, as tables for people. docs/picture_sets.md lists the fields.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "picture_sets/picture_set.h"

namespace millrace {

struct PictureReportOptions {
  bool per_image = false;
  int64_t num_captions = 0;  // as trained in that many epochs from the first, for every picture
  uint64_t seed = 0;         // of those captions
};

// {"kind", "path", "num_train_images", "num_reg_images", "batches_per_epoch", "datasets": [...]}
nlohmann::ordered_json picture_set_report(const std::string& path, const std::vector<PictureSet>& sets,
                                          const PictureReportOptions& options);

// The same for people.
std::string picture_set_text(const std::string& path, const std::vector<PictureSet>& sets,
                             const PictureReportOptions& options);

}  // namespace millrace
