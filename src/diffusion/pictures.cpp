#include "diffusion/pictures.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "images/bitmap_font.h"
#include "images/encode.h"

namespace millrace {
namespace {

constexpr int kMinPictureSide = 96;  // smaller ones are enlarged to at least this
constexpr int kMargin = 6;
constexpr int kCaptionLines = 2;
constexpr const char* kSoftware = "AI generated;txt2img;flux";

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

// In pixels of a grid.
struct GridSizes {
  int factor = 1;             // by which pictures are enlarged
  int width = 0, height = 0;  // of a picture
  int per_row = 1, rows = 1;
  int cell_width = 0, cell_height = 0;

  std::pair<int, int> corner(int number) const {
    return {kMargin + number % per_row * cell_width, kMargin + number / per_row * cell_height};
  }
};

GridSizes grid_sizes(const std::vector<Image>& pictures, int64_t columns) {
  const int count = static_cast<int>(pictures.size());
  MILLRACE_CHECK(count > 0);
  const int side = std::min(pictures[0].width, pictures[0].height);
  GridSizes sizes;
  sizes.factor = std::max(1, (kMinPictureSide + side - 1) / side);
  sizes.width = pictures[0].width * sizes.factor;
  sizes.height = pictures[0].height * sizes.factor;
  sizes.per_row = columns > 0 ? std::min(static_cast<int>(columns), count)
                              : static_cast<int>(std::ceil(std::sqrt(static_cast<double>(count))));
  sizes.rows = (count + sizes.per_row - 1) / sizes.per_row;
  sizes.cell_width = sizes.width + kMargin;
  sizes.cell_height = sizes.height + kMargin + kCaptionLines * kGlyphHeight;
  return sizes;
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

std::vector<Image> of_one_size(std::vector<Image> pictures) {
  int width = 0, height = 0;
  for (const Image& picture : pictures)
    width = std::max(width, picture.width), height = std::max(height, picture.height);
  for (Image& picture : pictures) {
    if (picture.width == width && picture.height == height) continue;
    Image whole;
    whole.reshape(width, height, 3);
    std::fill(whole.pixels.begin(), whole.pixels.end(), uint8_t{255});
    paste(picture, whole, (width - picture.width) / 2, (height - picture.height) / 2, /*factor=*/1);
    picture = std::move(whole);
  }
  return pictures;
}

Image picture_grid(const std::vector<Image>& pictures, const std::vector<std::string>& captions, int64_t columns) {
  const GridSizes sizes = grid_sizes(pictures, columns);
  MILLRACE_CHECK(captions.size() == pictures.size());
  Image grid;
  grid.reshape(sizes.per_row * sizes.cell_width + kMargin, sizes.rows * sizes.cell_height + kMargin, 3);
  std::fill(grid.pixels.begin(), grid.pixels.end(), uint8_t{255});
  for (size_t i = 0; i < pictures.size(); ++i) {
    const auto [x, y] = sizes.corner(static_cast<int>(i));
    const Image& picture = pictures[i];
    MILLRACE_CHECK(picture.height == pictures[0].height && picture.width == pictures[0].width && picture.channels == 3);
    paste(picture, grid, x, y, sizes.factor);
    int line_y = y + sizes.height + 3;
    for (const std::string& line : wrap_text(captions[i], sizes.width / kGlyphWidth, kCaptionLines)) {
      draw_text(grid, x, line_y, line);
      line_y += kGlyphHeight;
    }
  }
  return grid;
}

SampleGrid grid_places(const std::vector<Image>& pictures, const std::vector<std::string>& captions, int64_t columns) {
  const GridSizes sizes = grid_sizes(pictures, columns);
  SampleGrid places{captions, sizes.width, sizes.height, {}};
  for (size_t i = 0; i < pictures.size(); ++i) places.corners.push_back(sizes.corner(static_cast<int>(i)));
  return places;
}

std::string encode_picture(const Image& picture, const std::string& prompt, const PictureOrigin& origin) {
  return encode_png(picture, {{"Description", prompt}, {"Software", kSoftware}},
                    {.image_description = prompt, .make = origin.make, .model = origin.model, .software = kSoftware});
}

std::string name_of_weights(const std::filesystem::path& weights) {
  std::filesystem::path path = weights.lexically_normal();
  if (!path.has_filename()) path = path.parent_path();                          // "folder/"
  if (ends_with(path.filename().string(), ".json")) path = path.parent_path();  // an index names its shards
  if (path.filename() == "transformer") path = path.parent_path();
  const std::string name = path.filename().string(), ending = ".safetensors";
  return ends_with(name, ending) ? name.substr(0, name.size() - ending.size()) : name;
}

std::string maker_of(const std::filesystem::path& weights, bool full_size) {
  if (!full_size) return "";
  const std::string name = to_lower(name_of_weights(weights));
  for (const char* published : {"flux1-schnell", "flux1-dev", "flux.1-schnell", "flux.1-dev"}) {
    if (name == published) return "Black Forest Labs";
  }
  return "";
}

}  // namespace millrace
