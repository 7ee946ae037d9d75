// Compiled for processors with 32 registers of 16 numbers, whatever the rest is compiled for. What
// the linker could take for another file's is kept out.
#include "outer_products.h"

#include <array>
#include <utility>

#include "lanes.h"
#include "masked.h"

namespace cnn_jax {
namespace {

using L = Lanes<kColumns>;

// With the numbers that are multiplied a tile of the result fills the registers.
constexpr int kMostRows = 14;
constexpr int kVectors = 2;
constexpr int64_t kLine = 16;  // numbers fetched at once

using Tile = void (*)(const OuterProducts&, int64_t row, int64_t column, Ahead*);

// A tile of a single vector may be `kPartly` filled.
template <int kRows, int kWide, bool kPartly>
void sum_tile(const OuterProducts& p, int64_t row, int64_t column, Ahead* ahead) {
  const __mmask16 columns = first_of(p.columns - column);
  typename L::Float sums[kRows][kWide];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kWide; ++j) sums[i][j] = typename L::Float{};
  }
  const float* fetched = ahead->begin;
  for (const Run* run = p.runs; run != p.runs + p.count; ++run) {
    const float* picture = run->picture + row;
    const float* gradient = run->gradient + column;
    for (int64_t left = run->count; left > 0; --left) {
      __builtin_prefetch(fetched, 0, 2);
      fetched = fetched + kLine < ahead->end ? fetched + kLine : ahead->end;
      typename L::Float factors[kWide];
#pragma GCC unroll 2
      for (int j = 0; j < kWide; ++j) {
        factors[j] = kPartly ? (typename L::Float)load_some(gradient, columns)
                             : L::load(gradient + kColumns * j);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
        for (int j = 0; j < kWide; ++j) sums[i][j] += picture[i] * factors[j];
      }
      picture += p.picture_step;
      gradient += p.gradient_step;
    }
  }
  ahead->begin = fetched;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    float* to = p.result + (row + i) * p.columns_apart + column;
#pragma GCC unroll 2
    for (int j = 0; j < kWide; ++j, to += kColumns) {
      if constexpr (kPartly) {
        if (!p.fresh) sums[i][j] += (typename L::Float)load_some(to, columns);
        store_some((__m512)sums[i][j], to, columns);
      } else {
        L::store(p.fresh ? sums[i][j] : sums[i][j] + L::load(to), to);
      }
    }
  }
}

using TileOfRows = std::array<Tile, kMostRows>;

template <int kWide, bool kPartly, int... kBefore>
constexpr TileOfRows tiles_of(std::integer_sequence<int, kBefore...>) {
  return {sum_tile<kBefore + 1, kWide, kPartly>...};
}

using Rows = std::make_integer_sequence<int, kMostRows>;
constexpr TileOfRows kTiles[kVectors] = {tiles_of<1, false>(Rows{}), tiles_of<2, false>(Rows{})};
constexpr TileOfRows kPartlyFilled = tiles_of<1, true>(Rows{});

// The tiles are about alike, so that none is so low that its sums wait for one another.
void sum(const OuterProducts& p, Ahead* first, Ahead* second) {
  const int64_t tiles = (p.rows + kMostRows - 1) / kMostRows;
  int64_t wide = kVectors;
  for (int64_t column = 0; column < p.columns; column += wide * kColumns) {
    const int64_t left = p.columns - column;
    if (left < wide * kColumns) wide = 1;
    const TileOfRows& tile_of = left < kColumns ? kPartlyFilled : kTiles[wide - 1];
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t row = tile * p.rows / tiles, end = (tile + 1) * p.rows / tiles;
      tile_of[end - row - 1](p, row, column, first->begin < first->end ? first : second);
    }
  }
}

void add(float* total, const float* added, int64_t count) {
  for (int64_t i = 0; i < count; ++i) total[i] += added[i];
}

}  // namespace

extern const OuterProductLoops outer_products_x86_64_v4;
const OuterProductLoops outer_products_x86_64_v4 = {sum, add};

}  // namespace cnn_jax
