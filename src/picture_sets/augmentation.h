// What is drawn for a picture each time a step trains on it: where it is cut out, whether it is mirrored, its colours.
//
// All of it is a function of (seed, epoch, the sample's id), whichever rank or thread asks.
#pragma once

#include <cstdint>

#include "base/philox.h"
#include "images/colour_change.h"
#include "picture_sets/picture_set.h"

namespace millrace {

struct Augmentation {
  PictureSize resized;  // the scaled picture
  PictureSize offset;   // left and top of the crop in it
  bool is_mirrored = false;
  ColourChange colours = {};
};

// Nothing drawn: cut out in the middle, or around the picture's face.
Augmentation fixed_augmentation(const Picture& picture, const SubsetOptions& subset);

// With random_crop cut out anywhere; around a face as draw_face_crop() does; mirrored half of the times with flip_aug;
// with color_aug other colours a third of the times: half of those a hue up to 16 degrees away, half a gamma of 0.95
// to 1.05, as in sd-scripts.
Augmentation draw_augmentation(const Picture& picture, const SubsetOptions& subset, const RandomStream& numbers);

// The numbers that draw_augmentation() takes for a sample in an epoch.
RandomStream augmentation_stream(uint64_t seed, uint32_t epoch, uint64_t sample_id);

// Whether the crop of such a picture is drawn.
bool draws_crop(const Picture& picture, const SubsetOptions& subset);
// Whether more may be drawn than mirroring, so that no two passes over a picture are the same.
bool draws_new_pictures(const SubsetOptions& subset);

}  // namespace millrace
