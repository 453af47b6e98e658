#include "diffusion/latents.h"

#include "base/error.h"

namespace millrace {

torch::Tensor pack_patches(const torch::Tensor& image_BCHW, int64_t patch_size) {
  const int64_t p = patch_size;
  const int64_t batch = image_BCHW.size(0), channels = image_BCHW.size(1);
  const int64_t rows = image_BCHW.size(2) / p, columns = image_BCHW.size(3) / p;
  MILLRACE_CHECK(rows * p == image_BCHW.size(2) && columns * p == image_BCHW.size(3));
  return image_BCHW.reshape({batch, channels, rows, p, columns, p})
      .permute({0, 2, 4, 1, 3, 5})
      .reshape({batch, rows * columns, channels * p * p});
}

torch::Tensor unpack_patches(const torch::Tensor& tokens_BIF, int64_t rows, int64_t columns, int64_t patch_size) {
  const int64_t p = patch_size;
  const int64_t batch = tokens_BIF.size(0), channels = tokens_BIF.size(2) / (p * p);
  MILLRACE_CHECK(tokens_BIF.size(1) == rows * columns && channels * p * p == tokens_BIF.size(2));
  return tokens_BIF.reshape({batch, rows, columns, channels, p, p})
      .permute({0, 3, 1, 4, 2, 5})
      .reshape({batch, channels, rows * p, columns * p});
}

torch::Tensor image_ids(int64_t rows, int64_t columns, torch::Device device) {
  const auto options = torch::TensorOptions().dtype(torch::kFloat32).device(device);
  torch::Tensor ids = torch::zeros({rows, columns, 3}, options);
  ids.select(2, 1).copy_(torch::arange(rows, options).unsqueeze(1).expand({rows, columns}));
  ids.select(2, 2).copy_(torch::arange(columns, options).unsqueeze(0).expand({rows, columns}));
  return ids.reshape({1, rows * columns, 3});
}

torch::Tensor text_ids(int64_t num_tokens, torch::Device device) {
  return torch::zeros({1, num_tokens, 3}, torch::TensorOptions().dtype(torch::kFloat32).device(device));
}

}  // namespace millrace
