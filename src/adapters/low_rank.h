// The product of two thin matrices that comes nearest to a matrix: the singular values that count, and their vectors
// (Eckart and Young 1936).
//
// Letters: N and K of the matrix, R the rank.
#pragma once

#include <torch/types.h>

#include <cstdint>

namespace millrace {

struct LowRank {
  torch::Tensor down_RK, up_NR;   // fp32; both hold the root of the singular values
  torch::Tensor singular_values;  // those kept, falling
};

// Of matrix_NK, any dtype. Matrices much larger than the rank are projected on random directions first, which four
// power iterations turn to the largest singular vectors (Halko, Martinsson, Tropp 2011, arXiv 0909.4061); the
// directions are the same in every run.
LowRank nearest_of_rank(const torch::Tensor& matrix_NK, int64_t rank);

// Of up down, exactly, without the large matrix. A rank above the product's gives the product.
LowRank nearest_of_rank(const torch::Tensor& down_RK, const torch::Tensor& up_NR, int64_t rank);

}  // namespace millrace
