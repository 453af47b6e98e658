// A model's flat parameters as groups of an optimizer.
#pragma once

#include <vector>

#include "optim/flat_group.h"
#include "optim/rate_group.h"
#include "parallel/flat_parameters.h"

namespace millrace {

// This rank's part: masters, gradients, the narrow copy that the model computes with, if any, and the names.
// Buffers are shared, not copied.
FlatGroup parameter_group(const FlatParameters& parameters);

// The same with a group for each of rates, in the order of the layout; without rates, one group. grad: of parameters'
// layout, in place of their own. A rank may hold nothing of a group; all ranks have the same groups. Throws LogicError
// unless the rates cover all parameters, group after group in the layout's order.
std::vector<FlatGroup> parameter_groups(const FlatParameters& parameters, const std::vector<RateGroup>& rates,
                                        const torch::Tensor& grad);

// A group for each unit, without gradients, for steps in parts. On one rank.
std::vector<FlatGroup> unit_groups(const FlatParameters& parameters);

}  // namespace millrace
