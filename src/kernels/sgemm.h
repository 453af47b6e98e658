// A small fp32 matrix product on the calling thread, for kernels that make many of them.
#pragma once

#include <cstdint>

namespace millrace {

// c[i][j] = sum over l of a[i][l] * b[l][j], for i < m, j < n, l < k; rows are lda, ldb and ldc elements apart. Within
// at::parallel_for it uses no further threads.
void sgemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
           int64_t ldc);

}  // namespace millrace
