#include "adapters/lora_initialize.h"

#include <cmath>

#include "base/error.h"
#include "base/files.h"
#include "base/philox.h"
#include "kernels/philox_fill/philox_fill.h"

namespace millrace {
namespace {

enum class Start { kZero, kKaiming, kNormal, kSmallNormal };

Start start_of(AdapterKind kind, const std::string& role) {
  if (kind == AdapterKind::kLoha) {
    if (role == "w2_a") return Start::kZero;
    return role == "w1_a" ? Start::kSmallNormal : Start::kNormal;
  }
  if (kind == AdapterKind::kLokr) return role == "w2" || role == "w2_b" ? Start::kZero : Start::kKaiming;
  MILLRACE_CHECK(role == "up" || role == "down");
  return role == "up" ? Start::kZero : Start::kKaiming;
}

}  // namespace

torch::Tensor initial_adapter_matrix(AdapterKind kind, const std::string& name, const std::vector<int64_t>& shape,
                                     uint64_t seed, torch::Device device) {
  MILLRACE_CHECK(shape.size() == 2);
  const auto fp32 = torch::TensorOptions().dtype(torch::kFloat32).device(device);
  const Start start = start_of(kind, name.substr(name.rfind('.') + 1));
  if (start == Start::kZero) return torch::zeros({1}, fp32).expand(shape);
  torch::Tensor values = torch::empty(shape, fp32);
  const RandomStream stream = random_stream(seed, RandomPurpose::kInit, 0, checksum64(name.data(), name.size()));
  if (start == Start::kKaiming) {
    philox_fill_uniform(values.view({1, -1}), {stream});
    const double bound = 1 / std::sqrt(static_cast<double>(shape[1]));
    return values.mul_(2 * bound).sub_(bound);
  }
  philox_fill_normal(values.view({1, -1}), {stream});
  return start == Start::kSmallNormal ? values.mul_(0.1) : values;
}

}  // namespace millrace
