// Compiled for processors with 32 registers of 16 numbers, whatever the rest is compiled for. What
// the linker could take for another file's is kept out.
#include "row_products.h"

#include <immintrin.h>

#include "lanes.h"

namespace cnn_jax {
namespace {

using L = Lanes<kVector>;

// By the width of a tile. With the numbers that are multiplied such a tile fills the registers.
constexpr int kRowsThatFit[kMostWide] = {14, 12, 8, 6};

template <int kRows, int kVectors>
void along_columns(const RowProducts& p) {
  typename L::Float sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums[i][j] = typename L::Float{};
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) __builtin_prefetch(p.to[i] + p.column + kVector * j, 1, 3);
  }
  const float* const* rows = p.rows;
  for (int64_t number = 0; number < p.count; ++number, rows += kRows) {
    const float* matrix = p.matrices[number];
    const int64_t ahead = kRows * p.length;
    const float* row[kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) row[i] = rows[i];
    for (int64_t k = 0; k < p.length; ++k, matrix += kVectors * kVector) {
      if (k % kVector == 0) {
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) __builtin_prefetch(row[i] + k + ahead, 0, 2);
      }
      typename L::Float factors[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) factors[j] = L::load(matrix + kVector * j);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) sums[i][j] += row[i][k] * factors[j];
      }
    }
  }
  const int64_t last = p.columns - kVector * (kVectors - 1);
  const auto written = static_cast<__mmask16>((1u << last) - 1);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float* to = p.to[i] + p.column;
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j, to += kVector) {
      const __mmask16 mask = j == kVectors - 1 ? written : __mmask16{0xffff};
      __m512 sum = (__m512)sums[i][j];
      if (!p.fresh) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, to));
      _mm512_mask_storeu_ps(to, mask, sum);
    }
  }
}

CNN_JAX_INLINE float added_up(L::Float sums) {
  const auto all = (__m512)sums;
  const __m256 eight = _mm256_add_ps(_mm512_maskz_extractf32x8_ps(0xff, all, 0),
                                     _mm512_maskz_extractf32x8_ps(0xff, all, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

template <int kRows, int kColumns>
void along_row(const RowProducts& p) {
  typename L::Float sums[kRows][kColumns];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) sums[i][j] = typename L::Float{};
  }
  const int64_t whole = p.length / kVector * kVector, rest = p.length - whole;
  const int64_t padded = rest == 0 ? whole : whole + kVector;
  const auto there = static_cast<__mmask16>((1u << rest) - 1);
  const float* const* rows = p.rows;
  for (int64_t number = 0; number < p.count; ++number, rows += kRows) {
    const float* row[kRows];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) row[i] = rows[i];
    const int64_t ahead = kRows * p.length;
    const float* column[kColumns];
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) column[j] = p.matrices[number] + j * padded;
    for (int64_t k = 0; k < whole; k += kVector) {
      typename L::Float factors[kColumns];
#pragma GCC unroll 4
      for (int j = 0; j < kColumns; ++j) factors[j] = L::load(column[j] + k);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const typename L::Float numbers = L::load(row[i] + k);
        __builtin_prefetch(row[i] + k + ahead, 0, 2);
#pragma GCC unroll 4
        for (int j = 0; j < kColumns; ++j) sums[i][j] += numbers * factors[j];
      }
    }
    if (rest == 0) continue;
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const auto numbers = (typename L::Float)_mm512_maskz_loadu_ps(there, row[i] + whole);
#pragma GCC unroll 4
      for (int j = 0; j < kColumns; ++j) sums[i][j] += numbers * L::load(column[j] + whole);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float* const to = p.to[i] + p.column;
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; ++j) {
      const float sum = added_up(sums[i][j]);
      to[j] = p.fresh ? sum : sum + to[j];
    }
  }
}

#define CNN_JAX_FOR_ROWS(along)                                                                    \
  {                                                                                                \
    {along<1, 1>, along<2, 1>, along<3, 1>, along<4, 1>, along<5, 1>, along<6, 1>, along<7, 1>,    \
     along<8, 1>, along<9, 1>, along<10, 1>, along<11, 1>, along<12, 1>, along<13, 1>,             \
     along<14, 1>},                                                                                \
        {along<1, 2>, along<2, 2>, along<3, 2>, along<4, 2>, along<5, 2>, along<6, 2>,             \
         along<7, 2>, along<8, 2>, along<9, 2>, along<10, 2>, along<11, 2>, along<12, 2>},         \
        {along<1, 3>, along<2, 3>, along<3, 3>, along<4, 3>, along<5, 3>, along<6, 3>,             \
         along<7, 3>, along<8, 3>},                                                                \
        {along<1, 4>, along<2, 4>, along<3, 4>, along<4, 4>, along<5, 4>, along<6, 4>},            \
  }
constexpr RowProduct kAlongColumns[kMostWide][kMostRows] = CNN_JAX_FOR_ROWS(along_columns);
constexpr RowProduct kAlongRow[kMostWide][kMostRows] = CNN_JAX_FOR_ROWS(along_row);
#undef CNN_JAX_FOR_ROWS

void offsets_along(const RowAxis& axis, int64_t shift, RowNumbers& result) {
  for (int i = 0; i < kTileRows; ++i) {
    const int64_t at = axis.places.of[i] + shift;
    const bool inside = static_cast<uint64_t>(at) < static_cast<uint64_t>(axis.size);
    result.of[i] = inside ? at * axis.stride : kOutside;
  }
}

void offsets(const RowAxis* axes, RowNumbers* outer, RowNumbers* last) {
  for (int64_t i = 0; i < axes[0].elements; ++i) {
    RowNumbers first;
    offsets_along(axes[0], axes[0].shifts[i], first);
    for (int64_t j = 0; j < axes[1].elements; ++j, ++outer) {
      offsets_along(axes[1], axes[1].shifts[j], *outer);
      for (int row = 0; row < kTileRows; ++row) {
        const int64_t a = first.of[row], b = outer->of[row], sum = a + b;
        outer->of[row] = (a | b) < 0 ? kOutside : sum;
      }
    }
  }
  for (int64_t i = 0; i < axes[2].elements; ++i) {
    offsets_along(axes[2], axes[2].shifts[i], last[i]);
  }
}

// Half of the rows of a tile at one element; returns which of them meet more than padding.
unsigned find_half(const float* const* images, const int64_t* outer, const int64_t* last,
                   const float* nothing, const float** rows) {
  const __m512i a = _mm512_loadu_si512(outer), b = _mm512_loadu_si512(last);
  const __mmask8 outside = _mm512_movepi64_mask(a | b);
  const __m512i bytes = (a + b) << 2;
  const __m512i inside = _mm512_loadu_si512(images) + bytes;
  const __m512i padding = _mm512_set1_epi64(reinterpret_cast<intptr_t>(nothing));
  _mm512_storeu_si512(rows, _mm512_mask_mov_epi64(inside, outside, padding));
  return 0xffu & ~static_cast<unsigned>(outside);
}

int64_t find(const RowPlaces& p, int64_t first, int64_t last, const float** rows,
             int64_t* elements) {
  if (first == last) return 0;
  constexpr int kHalf = kTileRows / 2;
  const unsigned used = (1u << p.size) - 1;
  int64_t found = 0;
  int64_t outer = first / p.lasts, inner = first % p.lasts;
  for (int64_t element = first; element < last; ++element) {
    const int64_t *a = p.outer[outer].of, *b = p.last[inner].of;
    const unsigned low = find_half(p.images, a, b, p.nothing, rows);
    const unsigned high =
        find_half(p.images + kHalf, a + kHalf, b + kHalf, p.nothing, rows + kHalf);
    elements[found] = element;
    if (((low | high << kHalf) & used) != 0) {
      ++found;
      rows += p.size;
    }
    if (++inner == p.lasts) {
      inner = 0;
      ++outer;
    }
  }
  return found;
}

int most_rows(int wide) { return kRowsThatFit[wide - 1]; }

RowProduct product(Along along, int rows, int wide) {
  return (along == Along::kColumns ? kAlongColumns : kAlongRow)[wide - 1][rows - 1];
}

}  // namespace

extern const RowProductLoops row_products_x86_64_v4;
const RowProductLoops row_products_x86_64_v4 = {offsets, find, most_rows, product};

}  // namespace cnn_jax
