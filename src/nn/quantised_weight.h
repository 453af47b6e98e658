// Frozen weights in fewer bits, as a LinearWeight: products unpack one tile at a time into scratch memory and multiply
// by it, so that the matrix as numbers is never there.
//
// Forward, tiles are whole rows of W, each giving some columns of the output; backward, they are columns of W, each
// giving some columns of the input's gradient. So no sum is cut: the results are those of the unpacked matrix, up to
// the order in which its product sums.
#pragma once

#include <torch/nn/module.h>

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "kernels/quantised/dequantise.h"
#include "nn/linear_weight.h"

namespace millrace {

class QuantisedWeight : public LinearWeight {
 public:
  // Has sizes and no values: assign() brings them.
  QuantisedWeight(int64_t in_features, int64_t out_features);

  // Rows of W that follow each other: quantised, or dense in the compute dtype, as a GGUF file mixes them.
  struct Part {
    QuantisedTensor quantised;
    torch::Tensor dense_RK;  // defined instead of quantised
    int64_t rows() const { return dense_RK.defined() ? dense_RK.size(0) : quantised.rows; }
  };
  // All rows, in order, on the device of the computation, or of those kept on the host there, once.
  void assign(std::vector<Part> parts);
  const std::vector<Part>& parts() const { return parts_; }
  int64_t bytes() const;  // of all parts

  // Replaces every tensor of the parts, always in the same order, for bytes that move between host and device.
  void replace_tensors(const std::function<torch::Tensor(const torch::Tensor&)>& replacement);
  // From here on, assign() takes parts in host memory, and what reads the matrix sees to it that they are replaced.
  void keep_on_host() { is_kept_on_host_ = true; }
  bool is_kept_on_host() const { return is_kept_on_host_; }

  int64_t in_features() const override { return in_features_; }
  int64_t out_features() const override { return out_features_; }
  // Nothing for FlatParameters to place: this holds its own memory.
  std::vector<std::pair<std::string, torch::Tensor>> tensors() const override { return {}; }
  void forward(torch::Tensor& out_MN, const torch::Tensor& x_MK) const override;
  void backward_input(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, bool accumulate) const override;
  void backward_weight(const torch::Tensor&, const torch::Tensor&) override {}  // frozen

  // Rows [row_begin, ...) and columns [column_begin, ...) of W into tile_RC. Of GGUF's blocks, columns are whole ones.
  void unpack(int64_t row_begin, int64_t column_begin, const torch::Tensor& tile_RC) const;

 private:
  int64_t in_features_, out_features_;
  std::vector<Part> parts_;
  bool is_kept_on_host_ = false;
};

// Gives every Linear below the module whose qualified name is chosen a QuantisedWeight without values. Before
// FlatParameters places the module.
void store_quantised(torch::nn::Module& module, const std::function<bool(const std::string& name)>& is_chosen);
// Those layers, by name.
std::map<std::string, QuantisedWeight*> quantised_weights(torch::nn::Module& module);

// The most numbers of a tile on that device, where one row, or kTileColumns columns, are not more.
int64_t max_tile_elements(torch::Device device);
// Columns of a tile come in multiples of this: whole blocks of every kind.
inline constexpr int64_t kTileColumns = 256;

}  // namespace millrace
