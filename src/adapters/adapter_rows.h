// Adapters of some of a layer's outputs: taken out of an adapter of all of them, and put together again. Conventions
// know q, k and v apart where a model has them in one layer. What the layer computes stays the same.
//
// A product of two thin matrices (of LoRA, of either half of LoHa) has its outputs in the rows of the left one, so that
// any of them can be taken, with the right one as it is. Letters: adapter_file.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "adapters/adapter_file.h"

namespace millrace {

struct RowRange {
  int64_t begin = 0, size = 0;
};

// The same, every tensor's rows in the model's order.
AdapterTensors with_rows_in_order(AdapterTensors adapter);

// The tensors whose halves have to change places for those of the outputs to; empty for a Kronecker product whose first
// matrix has an odd number of rows, of which none would do. Their roles.
std::vector<std::string> roles_of_halves(const AdapterTensors& adapter);
// With the two halves of the outputs in the other order; none where there are no such tensors.
std::optional<AdapterTensors> with_halves_swapped(AdapterTensors adapter);

// An adapter for each of the ranges of its outputs. A rank's columns that hold the rows of one range alone are left to
// that one (split_qkv). None where a range of a Kronecker product is no Kronecker product with the same second matrix
// or a part of it: w1's rows stand for as many outputs as w2 has rows, and a range must be whole ones or lie within
// one.
std::optional<std::vector<AdapterTensors>> take_apart(const AdapterTensors& whole, const std::vector<RowRange>& ranges);

}  // namespace millrace
