// What only decoding a data set's pictures shows: damage, and pictures that are nearly the same.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "images/image.h"
#include "picture_sets/picture_set.h"

namespace millrace {

// A picture as a glance sees it: whether each of 8 x 8 spots is brighter than the one to its right (the difference hash
// of N. Krawetz, 2013), and its colours in 8 x 8 spots.
struct PictureGlance {
  uint64_t brighter = 0;
  std::array<uint8_t, 8 * 8 * 3> colours = {};
};
PictureGlance glance_at(const Image& picture);  // RGB

// Scaled, saved again with losses, or slightly retouched. Crops and mirror images are not found.
bool is_nearly_same(const PictureGlance& a, const PictureGlance& b);

// Upright RGB pixels of a JPEG, PNG, WebP or BMP. min_short_side: as in DecodeOptions; 0: all pixels. Throws DataError.
Image load_upright(const std::string& path, int min_short_side = 0, bool* is_truncated = nullptr);
// All pixels of a file's bytes; with keep_alpha RGBA where the format may have alpha.
Image decode_upright(std::span<const std::byte> bytes, const std::string& path, bool keep_alpha,
                     bool* is_truncated = nullptr);

// Decodes every picture that is on the disk and adds notices to its set: "damaged_picture", "truncated_picture",
// "near_duplicate". Of near duplicates each that has an earlier one in the same data set is named, with it.
void check_pixels(PictureSet& set, int num_threads);

}  // namespace millrace
