// Other colours for a picture, as training draws them: sd-scripts' color_aug (AugHelper in library/train_util.py,
// commit 48d368f), which goes through OpenCV's conversions of 8-bit pictures between BGR and HSV (hue in steps of 2
// degrees). They are followed to the level, as its version 4.10 computes rows of whole vectors (32 pixels) with AVX2.
#pragma once

#include "images/image.h"

namespace millrace {

struct ColourChange {
  enum class Kind {
    kNone,
    kHue,    // hue' = floor(hue + amount) mod 180, where sd-scripts takes red for blue and blue for red
    kGamma,  // value' = floor(min(255, value ^ amount)), of values 0 to 255
  };
  Kind kind = Kind::kNone;
  double amount = 0;

  bool operator==(const ColourChange&) const = default;
};

// Of RGB or RGBA, whose alpha stays.
void change_colours(Image& image, const ColourChange& change);

}  // namespace millrace
