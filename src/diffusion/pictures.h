// Tensors to picture files: single pictures and captioned grids.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "images/image.h"
#include "metrics/sample_grid.h"

namespace millrace {

// [3, H, W] in -1..1 (clamped) to 8 bits, as the reference does: truncation of 127.5 * (x + 1).
Image to_image(const torch::Tensor& image_CHW);

// The same pictures, each in the middle of a white one as wide as the widest and as high as the highest.
std::vector<Image> of_one_size(std::vector<Image> pictures);

// Pictures of one size side by side, `columns` to a row (0: as square as possible), on white. Small ones are enlarged
// by a whole factor without smoothing, and each has its caption below.
Image picture_grid(const std::vector<Image>& pictures, const std::vector<std::string>& captions, int64_t columns);
// Where they lie in it.
SampleGrid grid_places(const std::vector<Image>& pictures, const std::vector<std::string>& captions, int64_t columns);

// What made a picture, for viewers and for telling generated pictures from photographs.
struct PictureOrigin {
  std::string model;  // its name
  std::string make;   // who published the weights; empty: unknown
};
// A PNG with that origin in its EXIF tags, and the prompt as ImageDescription and as text in full Unicode.
std::string encode_picture(const Image& picture, const std::string& prompt, const PictureOrigin& origin);

// The name of weights: the file without ".safetensors", or the folder (in diffusers' layout, the
// pipeline's).
std::string name_of_weights(const std::filesystem::path& weights);
// "Black Forest Labs" for weights with the names they publish (flux1-schnell, FLUX.1-schnell; likewise -dev)
// in a model of full_size; "" for all others.
std::string maker_of(const std::filesystem::path& weights, bool full_size);

}  // namespace millrace
