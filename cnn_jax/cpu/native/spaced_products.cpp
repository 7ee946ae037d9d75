// Compiled for processors with 32 registers of 16 numbers, whatever the rest is compiled for. What
// the linker could take for another file's is kept out.
#include "spaced_products.h"

#include <immintrin.h>

#include <array>
#include <utility>

#include "lanes.h"
#include "masked.h"

namespace cnn_jax {
namespace {

using L = Lanes<kLanes>;

constexpr int kMostWide = 4;
// By the width of a tile. With the numbers that are multiplied such a tile fills the registers.
constexpr int kFit[kMostWide] = {16, 14, 9, 6};

// A distance that the compiler knows needs no registers for the places of the rows; 0 is any.
template <int kApart, int kPositions, int kVectors>
void product(const SpacedProducts& p) {
  typename L::Float sums[kPositions][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kPositions; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums[i][j] = typename L::Float{};
  }
  const int64_t apart = kApart == 0 ? p.apart : kApart;
  for (int64_t number = 0; number < p.count; ++number) {
    const float* row = p.met[number].pixels + p.offset;
    const float* matrix = p.matrices + p.met[number].number * p.matrix;
    for (int64_t k = 0; k < p.length; ++k, ++row, matrix += kVectors * kLanes) {
      typename L::Float factors[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) factors[j] = L::load(matrix + kLanes * j);
#pragma GCC unroll 16
      for (int i = 0; i < kPositions; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) sums[i][j] += row[i * apart] * factors[j];
      }
    }
  }
  const __mmask16 last = first_of(p.columns - kLanes * (kVectors - 1));
  float* to = p.to;
#pragma GCC unroll 16
  for (int i = 0; i < kPositions; ++i, to += p.to_step) {
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      if (p.past_caches) {
        _mm512_stream_ps(to + kLanes * j, (__m512)sums[i][j]);
      } else {
        store_some((__m512)sums[i][j], to + kLanes * j, j == kVectors - 1 ? last : __mmask16{0xffff});
      }
    }
  }
}

template <int kApart, int kVectors, int... kBefore>
constexpr std::array<SpacedProduct, sizeof...(kBefore)> tiles(std::integer_sequence<int, kBefore...>) {
  return {product<kApart, kBefore + 1, kVectors>...};
}

template <int kApart, int kVectors>
SpacedProduct tile_of(int positions) {
  static constexpr auto kTiles =
      tiles<kApart, kVectors>(std::make_integer_sequence<int, kFit[kVectors - 1]>{});
  return kTiles[positions - 1];
}

template <int kVectors>
SpacedProduct tile_of(int positions, int64_t apart) {
  switch (apart) {
    case 1:
      return tile_of<1, kVectors>(positions);
    case 2:
      return tile_of<2, kVectors>(positions);
    case 3:
      return tile_of<3, kVectors>(positions);
    case 4:
      return tile_of<4, kVectors>(positions);
    default:
      return tile_of<0, kVectors>(positions);
  }
}

int most_positions(int wide) { return kFit[wide - 1]; }

SpacedProduct product_of(int positions, int wide, int64_t apart) {
  switch (wide) {
    case 1:
      return tile_of<1>(positions, apart);
    case 2:
      return tile_of<2>(positions, apart);
    case 3:
      return tile_of<3>(positions, apart);
    default:
      return tile_of<4>(positions, apart);
  }
}

void add_up(const SpacedTerms& t) {
  const __mmask16 channels = first_of(t.channels);
  float* to = t.to;
  for (int64_t at = 0, end = t.positions * t.step; at < end; at += t.step, to += t.to_step) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < t.count; ++i) {
      sum = _mm512_add_ps(sum, load_some(t.terms[i] + at, channels));
    }
    store_some(sum, to, channels);
  }
}

void finish_stores() { _mm_sfence(); }

}  // namespace

extern const SpacedProductLoops spaced_products_x86_64_v4;
const SpacedProductLoops spaced_products_x86_64_v4 = {most_positions, product_of, add_up,
                                                      finish_stores};

}  // namespace cnn_jax
