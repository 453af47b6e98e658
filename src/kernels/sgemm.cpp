#include "kernels/sgemm.h"

#include <ATen/ATen.h>

// BLAS's own routine, which libtorch includes and exports; a libtorch with another BLAS may not.
extern "C" [[gnu::weak]] void sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
                                     const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
                                     const float* beta, float* c, const int* ldc);

namespace millrace {

void sgemm(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
           int64_t ldc) {
  if (sgemm_ != nullptr) {
    // BLAS counts by columns: it sees the transposed product.
    const int columns = static_cast<int>(n), rows = static_cast<int>(m), depth = static_cast<int>(k);
    const int a_step = static_cast<int>(lda), b_step = static_cast<int>(ldb), c_step = static_cast<int>(ldc);
    const float one = 1, zero = 0;
    sgemm_("N", "N", &columns, &rows, &depth, &one, b, &b_step, a, &a_step, &zero, c, &c_step);
    return;
  }
  const auto matrix = [](const float* data, int64_t rows, int64_t columns, int64_t step) {
    return at::from_blob(const_cast<float*>(data), {rows, columns}, {step, 1}, at::kFloat);
  };
  at::Tensor out = matrix(c, m, n, ldc);
  at::mm_out(out, matrix(a, m, k, lda), matrix(b, k, n, ldb));
}

}  // namespace millrace
