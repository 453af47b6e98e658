// A sheet of a data set's pictures, with a box around what the crop keeps of each.
#pragma once

#include <vector>

#include "images/image.h"
#include "picture_sets/picture_set.h"

namespace millrace {

// Thumbnails in rows of eight, sorted by bucket, with the bucket and the picture's size below; at most max_pictures. A
// picture that cannot be decoded is a grey field with a word.
Image contact_sheet(const std::vector<PictureSet>& sets, int num_threads, size_t max_pictures = 1000);

}  // namespace millrace
