// Between pictures and the tokens FLUX works on.
//
// Shape letters: B batch, C channels, H and W rows and columns, I image tokens, F features of a token.
#pragma once

#include <torch/types.h>

namespace millrace {

// [B, C, H, W] -> [B, (H/p)(W/p), C*p*p]: tokens row by row, features ordered channel, row in patch, column in patch.
// H and W must be multiples of the patch size.
torch::Tensor pack_patches(const torch::Tensor& image_BCHW, int64_t patch_size);
// The inverse; rows and columns count patches.
torch::Tensor unpack_patches(const torch::Tensor& tokens_BIF, int64_t rows, int64_t columns, int64_t patch_size);

// fp32 positions [1, I, 3] of image tokens: (0, row, column).
torch::Tensor image_ids(int64_t rows, int64_t columns, torch::Device device);
// fp32 positions [1, T, 3] of text tokens: all zero.
torch::Tensor text_ids(int64_t num_tokens, torch::Device device);

}  // namespace millrace
