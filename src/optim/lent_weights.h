// Temporarily replaces a model's weights with computed ones.
#pragma once

#include <functional>
#include <vector>

#include "optim/optimizer.h"

namespace millrace {

// make(group, begin, end): fp32 weights of these elements of the group. They are rounded into the copy that the model
// computes with or, without a copy, replace the masters, which are saved.
class LentWeights : public EvaluationWeights {
 public:
  using Make = std::function<torch::Tensor(size_t group, int64_t begin, int64_t end)>;
  LentWeights(std::vector<FlatGroup> groups, const Make& make);
  ~LentWeights() override;

 private:
  std::vector<FlatGroup> groups_;
  std::vector<torch::Tensor> masters_;  // undefined for groups with a copy
};

}  // namespace millrace
