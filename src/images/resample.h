// Resizing: by a filter that is bit for bit that of Pillow's Image.resize (src/libImaging/Resample.c), antialiased, or
// by OpenCV's nearest and area.
//
// Two passes, rows then columns, each with 8-bit results; coefficients are fixed point with 22 fractional bits.
#pragma once

#include "images/image.h"

namespace millrace {

enum class Filter {
  kBilinear,
  kBicubic,  // with a = -0.5, Pillow's
  kLanczos,  // over 3 lobes
  kBox,      // the mean of the source pixels whose centres are within
  kArea,     // the mean of what is within, parts of pixels too: OpenCV's INTER_AREA to a level, which rounds once
  kNearest,  // the pixel at floor(place x scale), without half a pixel's shift: OpenCV's INTER_NEAREST
};

// A rectangle of pixels.
struct Box {
  int left = 0;
  int top = 0;
  int width = 0;
  int height = 0;
};

// Resizes image to width x height.
Image resize(const Image& image, int width, int height, Filter filter = Filter::kBicubic);

// The part `crop` of resize(image, width, height, filter), without computing the rest: the same pixels as crop after
// resize. scratch holds the rows between the passes; reuse it to save allocations.
void resize_and_crop(const Image& image, int width, int height, Filter filter, const Box& crop, Image& scratch,
                     Image& out);

// The part `box` of image; the box must lie inside.
Image crop(const Image& image, const Box& box);

}  // namespace millrace
