#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "kernels/adamw8bit/adamw8bit.h"
#include "kernels/adamw8bit/adamw8bit_raw.h"

namespace millrace {
namespace {

// Decade i of seven, counted from the smallest, is 10^(i - 6) times the numbers in the middle of 2^i (signed) or
// 2^(i + 1) equal parts of [0.1, 1]; then 0 and 1. fp32 as in torch.linspace, so that codes mean the same.
std::vector<float> make_values(bool is_signed) {
  constexpr int kDecades = 7;
  std::vector<float> values = {0, 1};
  for (int decade = 0; decade < kDecades; ++decade) {
    const int64_t parts = int64_t{1} << (is_signed ? decade : decade + 1);
    const torch::Tensor edges = torch::linspace(0.1, 1, parts + 1, torch::kFloat32);
    const torch::Tensor middles = (edges.slice(0, 0, parts) + edges.slice(0, 1)) / 2;
    const torch::Tensor scaled = std::pow(10.0, decade - (kDecades - 1)) * middles;
    const float* numbers = scaled.data_ptr<float>();
    for (int64_t i = 0; i < parts; ++i) {
      values.push_back(numbers[i]);
      if (is_signed) values.push_back(-numbers[i]);
    }
  }
  MILLRACE_CHECK(values.size() == kCodes);
  std::sort(values.begin(), values.end());
  return values;
}

torch::Tensor middles_of(const torch::Tensor& values) {
  return (values.slice(0, 0, kCodes - 1) + values.slice(0, 1)) / 2;
}

}  // namespace

torch::Tensor code_values(bool is_signed) {
  const std::vector<float> values = make_values(is_signed);
  return torch::tensor(values, torch::kFloat32);
}

uint8_t zero_code(bool is_signed) {
  const std::vector<float> values = make_values(is_signed);
  return static_cast<uint8_t>(std::find(values.begin(), values.end(), 0.0f) - values.begin());
}

CodeTables::CodeTables(torch::Device device)
    : m_values(code_values(true).to(device)),
      v_values(code_values(false).to(device)),
      m_middles(middles_of(m_values)),
      v_middles(middles_of(v_values)) {}

}  // namespace millrace
