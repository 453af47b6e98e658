// Tensors to picture files: single pictures and captioned grids.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "images/image.h"

namespace millrace {

// [3, H, W] in -1..1 (clamped) to 8 bits, as the reference does: truncation of 127.5 * (x + 1).
Image to_image(const torch::Tensor& image_CHW);

// Pictures [B, 3, H, W] side by side, `columns` to a row (0: as square as possible), on white. Small ones are enlarged
// by a whole factor without smoothing, and each has its caption below.
Image picture_grid(const torch::Tensor& images_BCHW, const std::vector<std::string>& captions, int64_t columns);

}  // namespace millrace
