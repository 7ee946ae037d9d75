// Some neighbouring numbers, fewer than a vector of 16 holds. For files that are compiled for processors
// with such vectors alone.
#pragma once

#include <immintrin.h>

#include "lanes.h"

namespace cnn_jax {
namespace {

CNN_JAX_INLINE __mmask16 first_of(int64_t count) {
  if (count >= 16) return 0xffff;
  return count > 0 ? static_cast<__mmask16>((1u << count) - 1) : __mmask16{0};
}

CNN_JAX_INLINE __m512 load_some(const float* from, __mmask16 which) {
  return _mm512_maskz_loadu_ps(which, from);
}

CNN_JAX_INLINE __m512 load_some(const Bfloat16* from, __mmask16 which) {
  const auto halves = (Lanes<16>::Half)_mm256_maskz_loadu_epi16(which, from);
  return (__m512)(Lanes<16>::wide(halves) << 16);
}

CNN_JAX_INLINE void store_some(__m512 values, float* to, __mmask16 which) {
  _mm512_mask_storeu_ps(to, which, values);
}

CNN_JAX_INLINE void store_some(__m512 values, Bfloat16* to, __mmask16 which) {
  const auto bits = (Lanes<16>::Bits)Lanes<16>::rounded((Lanes<16>::Float)values, to);
  _mm256_mask_storeu_epi16(to, which, (__m256i)Lanes<16>::low_halves(bits >> 16));
}

}  // namespace
}  // namespace cnn_jax
