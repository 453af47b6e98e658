#include "diffusion/pictures.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "images/bitmap_font.h"

namespace millrace {
namespace {

constexpr int kMinPictureSide = 96;  // smaller ones are enlarged to at least this
constexpr int kMargin = 6;
constexpr int kCaptionLines = 2;

// Copies `from` into `to` at (x, y), each pixel as a square of `factor` pixels.
void paste(const Image& from, Image& to, int x, int y, int factor) {
  for (int row = 0; row < from.height * factor; ++row) {
    const uint8_t* source = from.row(row / factor);
    uint8_t* target = to.row(y + row) + static_cast<ptrdiff_t>(x) * 3;
    for (int column = 0; column < from.width * factor; ++column) {
      std::copy_n(source + (column / factor) * 3, 3, target + column * 3);
    }
  }
}

}  // namespace

Image to_image(const torch::Tensor& image_CHW) {
  MILLRACE_CHECK(image_CHW.dim() == 3 && image_CHW.size(0) == 3);
  const torch::Tensor bytes_HWC = ((image_CHW.to(torch::kCPU, torch::kFloat32).clamp(-1, 1) + 1) * 127.5)
                                      .to(torch::kUInt8)
                                      .permute({1, 2, 0})
                                      .contiguous();
  Image image;
  image.reshape(static_cast<int>(bytes_HWC.size(1)), static_cast<int>(bytes_HWC.size(0)), 3);
  std::copy_n(bytes_HWC.data_ptr<uint8_t>(), image.pixels.size(), image.pixels.data());
  return image;
}

Image picture_grid(const torch::Tensor& images_BCHW, const std::vector<std::string>& captions, int64_t columns) {
  const int count = static_cast<int>(images_BCHW.size(0));
  MILLRACE_CHECK(count > 0 && captions.size() == static_cast<size_t>(count));
  const int height = static_cast<int>(images_BCHW.size(2)), width = static_cast<int>(images_BCHW.size(3));
  const int factor = std::max(1, (kMinPictureSide + std::min(width, height) - 1) / std::min(width, height));
  const int per_row = columns > 0 ? std::min(static_cast<int>(columns), count)
                                  : static_cast<int>(std::ceil(std::sqrt(static_cast<double>(count))));
  const int rows = (count + per_row - 1) / per_row;
  const int cell_width = width * factor + kMargin;
  const int cell_height = height * factor + kMargin + kCaptionLines * kGlyphHeight;

  Image grid;
  grid.reshape(per_row * cell_width + kMargin, rows * cell_height + kMargin, 3);
  std::fill(grid.pixels.begin(), grid.pixels.end(), uint8_t{255});
  for (int i = 0; i < count; ++i) {
    const int x = kMargin + i % per_row * cell_width, y = kMargin + i / per_row * cell_height;
    paste(to_image(images_BCHW[i]), grid, x, y, factor);
    int line_y = y + height * factor + 3;
    for (const std::string& line :
         wrap_text(captions[static_cast<size_t>(i)], width * factor / kGlyphWidth, kCaptionLines)) {
      draw_text(grid, x, line_y, line);
      line_y += kGlyphHeight;
    }
  }
  return grid;
}

}  // namespace millrace
