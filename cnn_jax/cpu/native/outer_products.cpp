// Compiled for processors with 32 registers of 16 numbers, whatever the rest is compiled for. What
// the linker could take for another file's is kept out.
#include "outer_products.h"

#include "lanes.h"

namespace cnn_jax {
namespace {

using L = Lanes<kColumns>;

// With the numbers that are multiplied a tile of the result fills the registers.
constexpr int kMostRows = 14;
constexpr int kVectors = 2;
constexpr int64_t kLine = 16;  // numbers fetched at once

using Tile = void (*)(const OuterProducts&, int64_t row, int64_t column, Ahead*);

template <int kRows, int kWide>
void sum_tile(const OuterProducts& p, int64_t row, int64_t column, Ahead* ahead) {
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
      for (int j = 0; j < kWide; ++j) factors[j] = L::load(gradient + kColumns * j);
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
      L::store(p.fresh ? sums[i][j] : sums[i][j] + L::load(to), to);
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
void sum(const OuterProducts& p, Ahead* first, Ahead* second) {
  const int64_t tiles = (p.rows + kMostRows - 1) / kMostRows;
  int64_t wide = kVectors;
  for (int64_t column = 0; column < p.columns; column += wide * kColumns) {
    if (p.columns - column < wide * kColumns) wide = 1;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t row = tile * p.rows / tiles, end = (tile + 1) * p.rows / tiles;
      kTiles[wide - 1][end - row - 1](p, row, column, first->begin < first->end ? first : second);
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
