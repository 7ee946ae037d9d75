// Compiled for processors with a product of bfloat16 pairs, whatever the rest is compiled for. What
// the linker could take for another file's is kept out.
#include "pair_products.h"

#include "masked.h"
#include "paired_rows.h"

namespace cnn_jax {
namespace {

constexpr int kVector = 16;

// With the numbers that are multiplied a tile of the result fills the registers.
constexpr int kMostRows = 14;
constexpr int kVectors = 2;

constexpr int64_t kLine = 64;  // bytes fetched at once

using Tile = void (*)(const PairProducts&, int64_t row, int64_t column, MemoryAhead*);

CNN_JAX_INLINE __m512 sum_of_pair(__m512 sum, __m512i pictures, __m512i gradients) {
  return _mm512_dpbf16_ps(sum, (__m512bh)pictures, (__m512bh)gradients);
}

CNN_JAX_INLINE __m512i everywhere(const NumberPair* pair) {
  int32_t both;
  std::memcpy(&both, pair, sizeof(both));
  return _mm512_set1_epi32(both);
}

template <int kRows, int kWide>
void sum_tile(const PairProducts& p, int64_t row, int64_t column, MemoryAhead* ahead) {
  __m512 sums[kRows][kWide];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kWide; ++j) sums[i][j] = _mm512_setzero_ps();
  }
  const char* fetched = ahead->begin;
  for (const PairRun* run = p.runs; run != p.runs + p.count; ++run) {
    const NumberPair* picture = run->picture + row;
    const NumberPair* gradient = run->gradient + column / kVector * p.vectors_apart;
    for (int64_t left = run->count; left > 0; --left) {
      __builtin_prefetch(fetched, 0, 2);
      fetched = fetched + kLine < ahead->end ? fetched + kLine : ahead->end;
      __m512i factors[kWide];
#pragma GCC unroll 2
      for (int j = 0; j < kWide; ++j) {
        factors[j] = _mm512_loadu_si512(gradient + j * p.vectors_apart);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const __m512i number = everywhere(picture + i);
#pragma GCC unroll 2
        for (int j = 0; j < kWide; ++j) sums[i][j] = sum_of_pair(sums[i][j], number, factors[j]);
      }
      picture += p.rows;
      gradient += kVector;
    }
  }
  ahead->begin = fetched;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float* to = p.result + (row + i) * p.columns + column;
#pragma GCC unroll 2
    for (int j = 0; j < kWide; ++j, to += kVector) {
      _mm512_storeu_ps(to, p.fresh ? sums[i][j] : _mm512_add_ps(sums[i][j], _mm512_loadu_ps(to)));
    }
  }
}

#define CNN_JAX_TILES(wide)                                                                       \
  {                                                                                               \
    sum_tile<1, wide>, sum_tile<2, wide>, sum_tile<3, wide>, sum_tile<4, wide>,                   \
        sum_tile<5, wide>, sum_tile<6, wide>, sum_tile<7, wide>, sum_tile<8, wide>,               \
        sum_tile<9, wide>, sum_tile<10, wide>, sum_tile<11, wide>, sum_tile<12, wide>,            \
        sum_tile<13, wide>, sum_tile<14, wide>                                                    \
  }
constexpr Tile kTiles[kVectors][kMostRows] = {CNN_JAX_TILES(1), CNN_JAX_TILES(2)};
#undef CNN_JAX_TILES

// The tiles are about alike, so that none is so low that its sums wait for one another.
void sum(const PairProducts& p, MemoryAhead* first, MemoryAhead* second) {
  const int64_t tiles = (p.rows + kMostRows - 1) / kMostRows;
  int64_t wide = kVectors;
  for (int64_t column = 0; column < p.columns; column += wide * kVector) {
    if (p.columns - column < wide * kVector) wide = 1;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t row = tile * p.rows / tiles, end = (tile + 1) * p.rows / tiles;
      kTiles[wide - 1][end - row - 1](p, row, column, first->begin < first->end ? first : second);
    }
  }
}

void pair(const Bfloat16* const* rows, int64_t count, int64_t length, const PairPlaces& to) {
  const __m512i low = places_of_pairs(0), high = places_of_pairs(kVector);
  for (int64_t number = 0; number < count; ++number) {
    const Bfloat16 *first = rows[2 * number], *second = rows[2 * number + 1];
    NumberPair* pairs = to.pairs + number * to.pairs_apart;
    for (int64_t left = length; left > 0; left -= 2 * kVector, pairs += 2 * to.vectors_apart) {
      const __mmask32 which = left >= 2 * kVector ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
      const __m512i a = _mm512_maskz_loadu_epi16(which, first + (length - left));
      const __m512i b = _mm512_maskz_loadu_epi16(which, second + (length - left));
      _mm512_mask_storeu_epi32(pairs, first_of(left), _mm512_permutex2var_epi16(a, low, b));
      if (left <= kVector) break;
      _mm512_mask_storeu_epi32(pairs + to.vectors_apart, first_of(left - kVector),
                               _mm512_permutex2var_epi16(a, high, b));
    }
  }
}

void add(const float* parts, int64_t count_of_parts, int64_t apart, int64_t count,
         Bfloat16* total) {
  for (int64_t at = 0; at < count; at += kVector) {
    const __mmask16 which = first_of(count - at);
    __m512 sum = load_some(parts + at, which);
    for (int64_t part = 1; part < count_of_parts; ++part) {
      sum = _mm512_add_ps(sum, load_some(parts + part * apart + at, which));
    }
    store_some(sum, total + at, which);
  }
}

}  // namespace

extern const PairProductLoops pair_products_avx512_bf16;
const PairProductLoops pair_products_avx512_bf16 = {sum, pair, add};

}  // namespace cnn_jax
