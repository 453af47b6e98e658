// Crops around a face whose place stands in the picture's name: sd-scripts' face_crop_aug_range
// (load_image_with_face_info and crop_target of BaseDataset in library/train_util.py, commit 48d368f).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "images/aspect_buckets.h"

namespace millrace {

// In pixels of the picture.
struct Face {
  int64_t x = 0, y = 0;  // its middle
  int64_t width = 0, height = 0;
};

// Of "anna_512_300_120_140.png": x, y, width and height are the last four of at least five parts between underscores.
// nullopt where they are not whole numbers, x is not above 0, or neither width nor height is.
std::optional<Face> face_in_name(const std::string& path);

struct FaceCropRules {
  PictureSize picture, crop;
  // The shorter side of the crop as a multiple of the face's longer side, from and to; above 0.
  std::array<double, 2> range = {};
  bool random_crop = false;
};

// Numbers from 0 to below 1. shifts: two down, two to the right.
struct FaceDraws {
  double scale = 0;
  std::array<double, 4> shifts = {};
};

struct ScaledCrop {
  PictureSize resized;  // covers the crop
  PictureSize offset;   // left and top of the crop in it
};

// The picture is scaled so that the face has a size within the range, as far as the crop then is covered and the
// picture not enlarged; one smaller than the crop is enlarged to cover it (sd-scripts refuses it). The face is in the
// middle, moved by up to a twentieth of its size before scaling if the range is one (and the face not tiny), or with
// random_crop anywhere, rather near the middle.
ScaledCrop draw_face_crop(const Face& face, const FaceCropRules& rules, const FaceDraws& draws);

// With the mean scale, and the face in the middle.
ScaledCrop middle_face_crop(const Face& face, const FaceCropRules& rules);

}  // namespace millrace
