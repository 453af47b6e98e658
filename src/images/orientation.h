// How the camera was held: reads the orientation from a picture's EXIF or XMP data, and turns the picture upright.
//
// The training pipeline ignores it, as PIL's Image.open does; Hugging Face `datasets` turns every picture it decodes,
// and so do the data sets built with it.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "images/image.h"

namespace millrace {

// 1 to 8 as in EXIF, or 1 if there is none; found where PIL's Image.getexif() finds it: in JPEG, PNG (chunks eXIf,
// tEXt, zTXt and iTXt) and WebP. problem: why PIL refuses the file apart from its pixels, "expected ..., got ...";
// empty: it does not.
int read_orientation(std::span<const std::byte> file, std::string* problem = nullptr);

// PIL's ImageOps.exif_transpose for this orientation.
Image turn_upright(const Image& image, int orientation);

}  // namespace millrace
