// Compiled for processors with 32 registers of 16 numbers, whatever the rest is compiled for. What
// the linker could take for another file's is kept out.
#include "sliding_loops.h"

#include <immintrin.h>

#include "lanes.h"
#include "masked.h"

namespace cnn_jax {
namespace {

using L = Lanes<kLanes>;

CNN_JAX_INLINE void store_past_caches(L::Float values, float* to) {
  _mm512_stream_ps(to, (__m512)values);
}

CNN_JAX_INLINE void store_past_caches(L::Float values, Bfloat16* to) {
  const auto bits = (L::Bits)L::rounded(values, to);
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), (__m256i)L::low_halves(bits >> 16));
}

template <typename Number>
void widen_numbers(const Number* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) L::store(L::load(from + i), to + i);
  if (i == count) return;
  const __mmask16 rest = first_of(count - i);
  _mm512_mask_storeu_ps(to + i, rest, load_some(from + i, rest));
}

template <typename Number>
void widen_pixels(const PixelsToWiden& p) {
  const auto* from = static_cast<const Number*>(p.from);
  if (p.channels == p.width && p.from_step == p.width && p.to_step == p.width) {
    return widen_numbers(from, p.count * p.width, p.to);
  }
  float* to = p.to;
  for (int64_t i = 0; i < p.count; ++i, from += p.from_step, to += p.to_step) {
    float* block = to;
    for (int64_t first = 0; first < p.channels; first += p.width, block += p.block) {
      for (int64_t j = 0; j < p.width; j += kLanes) {
        const int64_t left = p.channels - first - j;
        const Number* const numbers = from + first + j;
        if (left >= kLanes) {
          L::store(L::load(numbers), block + j);
        } else {
          _mm512_mask_storeu_ps(block + j, first_of(p.width - j),
                                load_some(numbers, first_of(left)));
        }
      }
    }
  }
}

void narrow_numbers(const float* from, int64_t count, Bfloat16* to) {
  for (; count > 0; count -= kLanes, from += kLanes, to += kLanes) {
    store_some(load_some(from, first_of(count)), to, first_of(count));
  }
}

void narrow(const PixelsToNarrow& p) {
  if (p.to_step == p.channels) return narrow_numbers(p.from, p.count * p.channels, p.to);
  for (int64_t i = 0; i < p.count; ++i) {
    narrow_numbers(p.from + i * p.channels, p.channels, p.to + i * p.to_step);
  }
}

void widen(const PixelsToWiden& p) {
  p.type == Type::kFloat32 ? widen_pixels<float>(p) : widen_pixels<Bfloat16>(p);
}

// A step that the compiler knows needs no registers for the places of the positions; 0 is any.
template <int kStep, int kPositions, int kVectors, typename Number>
void depthwise_tile(const DepthwiseTile& t) {
  typename L::Float sums[kPositions][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kPositions; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) sums[i][j] = typename L::Float{};
  }
  const int64_t step = kStep == 0 ? t.step : kStep;
  for (int64_t row = 0; row < t.count; ++row) {
    const float* from = t.rows[row].pixels + t.offset;
    const float* weights = t.weights + t.rows[row].number * t.window * kVectors * kLanes;
    for (int64_t element = 0; element < t.elements; ++element, from += t.apart) {
      typename L::Float factors[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j, weights += kLanes) factors[j] = L::load(weights);
#pragma GCC unroll 8
      for (int i = 0; i < kPositions; ++i) {
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) {
          sums[i][j] += L::load(from + i * step + kLanes * j) * factors[j];
        }
      }
    }
  }
  const __mmask16 last = first_of(t.channels - kLanes * (kVectors - 1));
#pragma GCC unroll 8
  for (int i = 0; i < kPositions; ++i) {
    auto* to = static_cast<Number*>(t.to) + i * t.to_step;
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
      if (t.past_caches) {
        store_past_caches(sums[i][j], to + kLanes * j);
      } else {
        store_some((__m512)sums[i][j], to + kLanes * j, j == kVectors - 1 ? last : __mmask16{0xffff});
      }
    }
  }
}

template <int kStep, int kVectors, typename Number>
DepthwiseProduct tile_of(int positions) {
  static constexpr DepthwiseProduct kTiles[kMostTogether] = {
      depthwise_tile<kStep, 1, kVectors, Number>, depthwise_tile<kStep, 2, kVectors, Number>,
      depthwise_tile<kStep, 3, kVectors, Number>, depthwise_tile<kStep, 4, kVectors, Number>,
      depthwise_tile<kStep, 5, kVectors, Number>, depthwise_tile<kStep, 6, kVectors, Number>,
      depthwise_tile<kStep, 7, kVectors, Number>, depthwise_tile<kStep, 8, kVectors, Number>};
  return kTiles[positions - 1];
}

template <int kVectors, typename Number>
DepthwiseProduct tile_of(int positions, int64_t step) {
  constexpr int kWidth = kVectors * kLanes;
  if (step == kWidth) return tile_of<kWidth, kVectors, Number>(positions);
  if (step == 2 * kWidth) return tile_of<2 * kWidth, kVectors, Number>(positions);
  return tile_of<0, kVectors, Number>(positions);
}

DepthwiseProduct depthwise(Type type, int positions, int vectors, int64_t step) {
  if (type == Type::kFloat32) {
    return vectors == 1 ? tile_of<1, float>(positions, step) : tile_of<2, float>(positions, step);
  }
  return vectors == 1 ? tile_of<1, Bfloat16>(positions, step)
                      : tile_of<2, Bfloat16>(positions, step);
}

template <int kElements, int kVectors>
void sum_elements(const DepthwiseSums& s) {
  typename L::Float sums[kElements][kVectors];
  const float* met[kElements];
#pragma GCC unroll 8
  for (int i = 0; i < kElements; ++i) {
    met[i] = s.met[i];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) sums[i][j] = typename L::Float{};
  }
  const float* gradient = s.gradient;
  for (int64_t at = 0, end = s.count * s.step; at < end; at += s.step, gradient += s.gradient_step) {
    typename L::Float factors[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) factors[j] = L::load(gradient + kLanes * j);
#pragma GCC unroll 8
    for (int i = 0; i < kElements; ++i) {
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) {
        sums[i][j] += L::load(met[i] + at + kLanes * j) * factors[j];
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kElements; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
      float* const to = s.to[i] + kLanes * j;
      L::store(L::load(to) + sums[i][j], to);
    }
  }
}

#define CNN_JAX_SUMS(vectors)                                                                     \
  {                                                                                               \
    sum_elements<1, vectors>, sum_elements<2, vectors>, sum_elements<3, vectors>,                 \
        sum_elements<4, vectors>, sum_elements<5, vectors>, sum_elements<6, vectors>,             \
        sum_elements<7, vectors>, sum_elements<8, vectors>                                        \
  }
constexpr DepthwiseSum kSums[kMostVectors][kMostTogether] = {CNN_JAX_SUMS(1), CNN_JAX_SUMS(2)};
#undef CNN_JAX_SUMS

DepthwiseSum depthwise_sum(int elements, int vectors) { return kSums[vectors - 1][elements - 1]; }

void finish_stores() { _mm_sfence(); }

}  // namespace

extern const SlidingLoops sliding_x86_64_v4;
const SlidingLoops sliding_x86_64_v4 = {widen, narrow, depthwise, depthwise_sum,
                                        finish_stores};

}  // namespace cnn_jax
