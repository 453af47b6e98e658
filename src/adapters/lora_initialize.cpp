#include "adapters/lora_initialize.h"

#include <cmath>

#include "base/error.h"
#include "base/files.h"
#include "base/philox.h"
#include "base/text.h"
#include "kernels/philox_fill/philox_fill.h"

namespace millrace {

torch::Tensor initial_lora_matrix(const std::string& name, const std::vector<int64_t>& shape, uint64_t seed,
                                  torch::Device device) {
  const auto fp32 = torch::TensorOptions().dtype(torch::kFloat32).device(device);
  if (ends_with(name, ".up")) return torch::zeros({1}, fp32).expand(shape);
  MILLRACE_CHECK(ends_with(name, ".down") && shape.size() == 2);
  torch::Tensor values = torch::empty(shape, fp32);
  philox_fill_uniform(values.view({1, -1}),
                      {random_stream(seed, RandomPurpose::kInit, 0, checksum64(name.data(), name.size()))});
  const double bound = 1 / std::sqrt(static_cast<double>(shape[1]));
  return values.mul_(2 * bound).sub_(bound);
}

}  // namespace millrace
