// What the headers of a subset's pictures say (internal to picture_sets/).
#pragma once

#include <vector>

#include "picture_sets/notices.h"
#include "picture_sets/subset_files.h"

namespace millrace {

// The files whose sizes are known afterwards, upright; the others, and what is odd about a picture, are noted. A size
// that metadata state counts only while the picture itself is not there. Reads on that many threads. alpha_is_mask:
// transparent pictures are not odd.
std::vector<PictureFile> with_sizes(std::vector<PictureFile> files, int num_threads, bool alpha_is_mask,
                                    Notices& notices);

}  // namespace millrace
