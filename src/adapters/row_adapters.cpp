#include "adapters/row_adapters.h"

namespace millrace {

void RowAdapters::complete_forward(torch::Tensor& out_MN, const torch::Tensor& x_MK, LinearPass&) const {
  for (const Part& part : parts_) {
    torch::Tensor part_MN = out_MN.narrow(1, part.begin, part.size);
    LinearPass unkept;
    part.adapter->complete_forward(part_MN, x_MK, unkept);
  }
}

torch::Tensor RowAdapters::base_gradient(const torch::Tensor& dy_MN) const {
  torch::Tensor result_MN = dy_MN;
  for (const Part& part : parts_) {
    const torch::Tensor part_MN = dy_MN.narrow(1, part.begin, part.size);
    const torch::Tensor base_MN = part.adapter->base_gradient(part_MN);
    if (base_MN.is_same(part_MN)) continue;
    if (result_MN.is_same(dy_MN)) result_MN = dy_MN.clone();
    result_MN.narrow(1, part.begin, part.size).copy_(base_MN);
  }
  return result_MN;
}

void RowAdapters::add_input_gradient(torch::Tensor& dx_MK, const torch::Tensor& dy_MN, LinearPass&) const {
  for (const Part& part : parts_) {
    LinearPass unkept;
    part.adapter->add_input_gradient(dx_MK, dy_MN.narrow(1, part.begin, part.size), unkept);
  }
}

void RowAdapters::add_gradients(const torch::Tensor& dy_MN, const torch::Tensor& x_MK, LinearPass&) {
  for (const Part& part : parts_) {
    LinearPass unkept;
    part.adapter->add_gradients(dy_MN.narrow(1, part.begin, part.size), x_MK, unkept);
  }
}

}  // namespace millrace
