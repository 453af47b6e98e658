// The functions of base/philox.h, vectorised operation by operation. This file is compiled without contraction of
// products and sums (CMakeLists.txt), which would change the last bit.
#include "kernels/philox_fill/philox_fill_raw.h"
#include "kernels/philox_simd.h"

namespace millrace {
namespace {

MILLRACE_INLINE VecF fused_multiply_add(VecF a, VecF b, VecF c) {
#if defined(MILLRACE_ISA_v4)
  return (VecF)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(MILLRACE_ISA_v3)
  return (VecF)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
  for (int i = 0; i < kLanes; ++i) a[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return a;
#endif
}

MILLRACE_INLINE VecF to_float(VecU below_2_31) {
  return __builtin_convertvector((VecI)below_2_31, VecF);
}

MILLRACE_INLINE VecF uniform(VecU word) {
  return to_float(word >> 8) * 5.9604644775390625e-8f;
}

MILLRACE_INLINE VecF logarithm(VecF x) {
  const VecU bits = (VecU)x;
  VecI exponent = (VecI)(bits >> 23) - 126;
  VecF m = (VecF)((bits & 0x007FFFFFu) | 0x3F000000u);
  const VecI low = m < 0.707106781186547524f;  // -1 where true
  exponent += low;
  m = low ? m + m : m;
  m = m - 1.0f;
  const VecF z = m * m;
  VecF p = splat(7.0376836292e-2f);
  p = fused_multiply_add(p, m, splat(-1.1514610310e-1f));
  p = fused_multiply_add(p, m, splat(1.1676998740e-1f));
  p = fused_multiply_add(p, m, splat(-1.2420140846e-1f));
  p = fused_multiply_add(p, m, splat(1.4249322787e-1f));
  p = fused_multiply_add(p, m, splat(-1.6668057665e-1f));
  p = fused_multiply_add(p, m, splat(2.0000714765e-1f));
  p = fused_multiply_add(p, m, splat(-2.4999993993e-1f));
  p = fused_multiply_add(p, m, splat(3.3333331174e-1f));
  const VecF mz = m * z;
  const VecF e = __builtin_convertvector(exponent, VecF);
  VecF y = mz * p;
  y = fused_multiply_add(e, splat(-2.12194440e-4f), y);
  y = fused_multiply_add(splat(-0.5f), z, y);
  y = m + y;
  return fused_multiply_add(e, splat(0.693359375f), y);
}

MILLRACE_INLINE void sincos_turn(VecF turn, VecF* sine, VecF* cosine) {
  const VecF quarters = turn * 4.0f;
  const VecI quadrant = __builtin_convertvector(quarters + 0.5f, VecI);
  const VecF x = (quarters - __builtin_convertvector(quadrant, VecF)) * 1.57079632679489662f;
  const VecF z = x * x;
  VecF s = splat(-1.9515295891e-4f);
  s = fused_multiply_add(s, z, splat(8.3321608736e-3f));
  s = fused_multiply_add(s, z, splat(-1.6666654611e-1f));
  const VecF xz = x * z;
  s = fused_multiply_add(s, xz, x);
  VecF c = splat(2.443315711809948e-5f);
  c = fused_multiply_add(c, z, splat(-1.388731625493765e-3f));
  c = fused_multiply_add(c, z, splat(4.166664568298827e-2f));
  const VecF zz = z * z;
  c = fused_multiply_add(c, zz, fused_multiply_add(splat(-0.5f), z, splat(1.0f)));
  const VecI swapped = (quadrant & 1) != 0;
  const VecF first = swapped ? c : s, second = swapped ? s : c;
  *sine = (quadrant & 2) != 0 ? -first : first;
  *cosine = ((quadrant + 1) & 2) != 0 ? -second : second;
}

MILLRACE_INLINE void normals(VecU a, VecU b, VecF* first, VecF* second) {
  const VecF u = to_float((a >> 8) + 1u) * 5.9604644775390625e-8f;
  const VecF radius = square_root(-2.0f * logarithm(u));
  VecF sine, cosine;
  sincos_turn(uniform(b), &sine, &cosine);
  *first = radius * cosine;
  *second = radius * sine;
}

// The 4 * kLanes numbers of kLanes blocks, in order.
template <RandomKind kKind>
MILLRACE_INLINE void numbers_of_blocks(const RandomStream& stream, uint32_t block, VecF in_order[4]) {
  VecU words[4];
  philox_blocks(stream, block, words);
  VecF numbers[4];
  if constexpr (kKind == RandomKind::kNormal) {
    normals(words[0], words[1], &numbers[0], &numbers[1]);
    normals(words[2], words[3], &numbers[2], &numbers[3]);
  } else {
    for (int j = 0; j < 4; ++j) numbers[j] = uniform(words[j]);
  }
  to_stream_order(numbers, in_order);
}

template <RandomKind kKind, typename T>
void fill(const RandomStream& stream, uint64_t first_index, int64_t n, void* out_data) {
  constexpr int64_t kStep = 4 * kLanes;
  T* out = static_cast<T*>(out_data);
  VecF numbers[4];
  T edge[kStep];
  int64_t done = 0;
  while (done < n) {
    const uint64_t index = first_index + static_cast<uint64_t>(done);
    const int64_t skip = static_cast<int64_t>(index % 4);
    numbers_of_blocks<kKind>(stream, static_cast<uint32_t>(index / 4), numbers);
    const bool whole = skip == 0 && n - done >= kStep;
    T* target = whole ? out + done : edge;
    for (int j = 0; j < 4; ++j) store(target + j * kLanes, numbers[j], Full{});
    if (whole) {
      done += kStep;
      continue;
    }
    for (int64_t i = skip; i < kStep && done < n; ++i) out[done++] = edge[i];
  }
}

}  // namespace

extern const PhiloxFillKernels MILLRACE_ISA_NAME(philox_fill_kernels) = {{
    {fill<RandomKind::kUniform, float>, fill<RandomKind::kUniform, BF16>},
    {fill<RandomKind::kNormal, float>, fill<RandomKind::kNormal, BF16>},
}};

}  // namespace millrace
