// A picture in memory: 8 bits per channel, rows top to bottom, channels interleaved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace millrace {

struct Image {
  int width = 0;
  int height = 0;
  int channels = 3;             // 3 RGB, 4 RGBA (straight alpha)
  std::vector<uint8_t> pixels;  // [height, width, channels]

  // Sets the size, keeping the allocation if it is large enough. New pixels are unspecified.
  void reshape(int new_width, int new_height, int new_channels) {
    width = new_width;
    height = new_height;
    channels = new_channels;
    pixels.resize(row_bytes() * static_cast<size_t>(new_height));
  }
  size_t row_bytes() const { return static_cast<size_t>(width) * channels; }
  uint8_t* row(int y) { return pixels.data() + y * row_bytes(); }
  const uint8_t* row(int y) const { return pixels.data() + y * row_bytes(); }
};

}  // namespace millrace
