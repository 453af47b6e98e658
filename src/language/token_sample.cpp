#include "language/token_sample.h"

#include <cstddef>
#include <utility>

namespace millrace {

TokenSample labelled(std::vector<int32_t> tokens, const std::vector<bool>& masked, LabelShift shift) {
  TokenSample sample{std::move(tokens), {}};
  for (std::size_t i = 0; i < sample.tokens.size(); ++i) {
    sample.labels.push_back(masked[i] ? kMaskedLabel : sample.tokens[i]);
  }
  if (shift == LabelShift::kByOne && !sample.labels.empty()) {
    sample.labels.erase(sample.labels.begin());
    sample.labels.push_back(kMaskedLabel);
  }
  return sample;
}

}  // namespace millrace
