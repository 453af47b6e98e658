#include "formats/gguf_llama.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace millrace {

std::vector<double> gguf_rope_quotients(const GgufRopeScaling& scaling, double theta, int64_t head_dim) {
  std::vector<double> quotients;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const double wavelength =
        2 * std::numbers::pi * std::pow(theta, 2 * static_cast<double>(i) / static_cast<double>(head_dim));
    const double kept = std::clamp((scaling.positions / wavelength - scaling.low_freq_factor) /
                                       (scaling.high_freq_factor - scaling.low_freq_factor),
                                   0.0, 1.0);
    quotients.push_back(1 / ((1 - kept) / scaling.factor + kept));
  }
  return quotients;
}

}  // namespace millrace
