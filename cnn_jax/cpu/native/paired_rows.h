// The numbers that two rows have in one place, put next to each other. For files that are compiled
// for processors with vectors of 16 alone.
#pragma once

#include <immintrin.h>

#include "lanes.h"

namespace cnn_jax {
namespace {

// The places, of two rows of 32 one after the other, of the numbers of pairs [first, first + 16).
CNN_JAX_INLINE __m512i places_of_pairs(int first) {
  Lanes<16>::Bits places;
  for (int i = 0; i < 16; ++i) places[i] = (first + i) | (32 + first + i) << 16;
  return (__m512i)places;
}

}  // namespace
}  // namespace cnn_jax
