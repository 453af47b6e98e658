#include "optim/rectification.h"

#include <cmath>

namespace millrace {

std::optional<double> rectification(double beta2, double k) {
  const double power = std::pow(beta2, k);
  const double longest = 2 / (1 - beta2) - 1, length = longest - 2 * k * power / (1 - power);
  if (!(length > 4)) return std::nullopt;
  return std::sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length));
}

}  // namespace millrace
