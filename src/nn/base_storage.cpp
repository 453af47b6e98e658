#include "nn/base_storage.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

// In the order of the enumerators.
constexpr std::array<std::string_view, 7> kNames = {"dense", "fp8",         "fp8_unscaled", "int8",
                                                    "nf4",   "nf4_torchao", "gguf"};

}  // namespace

std::string_view base_storage_name(BaseStorage storage) {
  return kNames.at(static_cast<size_t>(storage));
}

BaseStorage parse_base_storage(std::string_view text) {
  const auto found = std::find(kNames.begin(), kNames.end(), text);
  if (found != kNames.end()) return static_cast<BaseStorage>(found - kNames.begin());
  const std::vector<std::string> names(kNames.begin(), kNames.end());
  const std::string near = nearest(text, names);
  throw ConfigError("[base storage] expected one of " + join(names, ", ") + ", got " + std::string(text) +
                    (near.empty() ? "" : " (try " + near + ")"));
}

double largest_magnitude(BaseStorage storage) {
  constexpr double kLargestFp8 = 464;  // is rounded to 448
  return storage == BaseStorage::kFp8Unscaled ? kLargestFp8 : std::numeric_limits<double>::infinity();
}

}  // namespace millrace
