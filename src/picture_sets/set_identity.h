// What identifies data sets, so that a run resumes with the ones that it was started with, and caches hold nothing of a
// picture that was edited.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "picture_sets/picture_set.h"

namespace millrace {

// Checksums of the files' contents, in the order of the part's pictures. A file that cannot be read has 0.
struct PartContents {
  std::vector<uint64_t> pictures;
  std::vector<uint64_t> masks;  // of kMasks; else empty
};
struct SetContents {
  PartContents train, validation;
};

// Reads every file once, on that many threads.
std::vector<SetContents> read_contents(const std::vector<PictureSet>& sets, int num_threads);

// The trained part of data sets without their places on the disk: {"options": [...], "num_pictures", "checksum",
// "pictures": [...]}. "pictures" has a number for each, of its content, mask, caption, repeats and bucket; where there
// are more than 4096 it is left out.
nlohmann::json identity_of(const std::vector<PictureSet>& sets, const std::vector<SetContents>& contents);

// Throws DataError naming the first option or picture that differs. saved: identity_of() the data sets of a run; now:
// of sets; place: names the data set.
void check_same_identity(const nlohmann::json& saved, const nlohmann::json& now, const std::vector<PictureSet>& sets,
                         const std::string& place);

}  // namespace millrace
