// How LyCORIS divides a layer between the two matrices of a Kronecker product (arXiv 2309.14859, section 3.3). No
// torch.
#pragma once

#include <cstdint>
#include <optional>

namespace millrace {

// A matrix of rows x columns; rank 0: whole, else a product of two of that rank.
struct LokrFactor {
  int64_t rows = 0, columns = 0, rank = 0;
  bool operator==(const LokrFactor&) const = default;
};
struct LokrSizes {
  LokrFactor w1, w2;
  bool operator==(const LokrSizes&) const = default;
};

// The first matrix is the smaller one: each dimension of the layer is the product of two divisors, of which it has the
// smaller. They are the two that lie nearest to each other or, with a factor, factor and the rest where it divides the
// dimension, else the nearest two of which one is not above it. A matrix whose larger side is above twice the rank is a
// product of two of that rank; the first one only with decompose_both.
LokrSizes lokr_sizes(int64_t in_features, int64_t out_features, int64_t rank, std::optional<int64_t> factor,
                     bool decompose_both);

}  // namespace millrace
