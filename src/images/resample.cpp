#include "images/resample.h"

#include <cstring>

#include "base/error.h"
#include "images/resample_coefficients.h"
#include "images/resample_kernels.h"

namespace millrace {
namespace {

void check_box(const Box& box, int width, int height) {
  MILLRACE_CHECK(box.left >= 0 && box.top >= 0 && box.width > 0 && box.height > 0);
  MILLRACE_CHECK(box.left + box.width <= width && box.top + box.height <= height);
}

// First pass: the rows [first_row, first_row + rows) of image, only the columns of `columns`.
void resample_rows(const Image& image, int first_row, int rows, const ResampleCoefficients& columns, Image& out) {
  out.reshape(static_cast<int>(columns.first.size()), rows, image.channels);
  const ResampleLine line{columns.first.data(), columns.count.data(), columns.weights.data(), columns.halves.data(),
                          columns.taps};
  pixel_kernels().resample_rows(image.row(first_row), image.width, rows, image.channels, line, out.width,
                                out.pixels.data());
}

void copy_box(const Image& image, const Box& box, Image& out) {
  out.reshape(box.width, box.height, image.channels);
  for (int y = 0; y < box.height; ++y) {
    std::memcpy(out.row(y), image.row(box.top + y) + static_cast<size_t>(box.left) * image.channels, out.row_bytes());
  }
}

}  // namespace

void resize_and_crop(const Image& image, int width, int height, Filter filter, const Box& box, Image& scratch,
                     Image& out) {
  MILLRACE_CHECK(image.channels == 3 || image.channels == 4);
  check_box(box, width, height);
  const bool same_width = width == image.width, same_height = height == image.height;
  if (same_width && same_height) return copy_box(image, box, out);

  // Only the source rows that some row of the box needs.
  ResampleCoefficients lines;
  int first_row = box.top, rows = box.height;
  if (!same_height) {
    lines = resample_coefficients(image.height, height, box.top, box.top + box.height, filter);
    first_row = lines.first.front();
    rows = lines.first.back() + lines.count.back() - first_row;
  }
  Image& wide = same_height ? out : scratch;
  if (same_width) {
    copy_box(image, {box.left, first_row, box.width, rows}, wide);
  } else {
    resample_rows(image, first_row, rows,
                  resample_coefficients(image.width, width, box.left, box.left + box.width, filter), wide);
  }
  if (same_height) return;
  out.reshape(box.width, box.height, image.channels);
  for (int y = 0; y < box.height; ++y) {
    pixel_kernels().resample_columns(wide.row(lines.first[y] - first_row), wide.row_bytes(),
                                     lines.weights.data() + static_cast<size_t>(y) * lines.taps, lines.count[y],
                                     static_cast<int>(out.row_bytes()), out.row(y));
  }
}

Image resize(const Image& image, int width, int height, Filter filter) {
  Image scratch, out;
  resize_and_crop(image, width, height, filter, {0, 0, width, height}, scratch, out);
  return out;
}

Image crop(const Image& image, const Box& box) {
  check_box(box, image.width, image.height);
  Image out;
  copy_box(image, box, out);
  return out;
}

}  // namespace millrace
