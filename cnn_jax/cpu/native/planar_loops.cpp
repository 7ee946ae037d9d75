// Compiled for processors with 32 registers of 16 numbers, whatever the rest is compiled for. What
// the linker could take for another file's is kept out.
#include "planar_loops.h"

#include <immintrin.h>

#include "lanes.h"
#include "masked.h"

namespace cnn_jax {
namespace {

constexpr int kLanes = 16;
constexpr int kInFlight = 8;  // products that the processor works on at once
using L = Lanes<kLanes>;

// The numbers of a vector that are taken from several: which lane of two neighbours each comes from,
// and which come from each pair of neighbours.
struct Taken {
  constexpr void take(int to, int vector, int its_lane) {
    lane[to] = its_lane + vector % 2 * kLanes;
    from[vector / 2] |= static_cast<uint16_t>(1u << to);
  }

  alignas(64) int32_t lane[kLanes] = {};
  uint16_t from[kMostPlanes / 2] = {};
};

// Of 16 pixels: one channel after the other in as many vectors, or pixel after pixel.
template <int kChannels>
struct Shuffles {
  constexpr Shuffles() {
    for (int to = 0; to < kChannels; ++to) {
      for (int i = 0; i < kLanes; ++i) {
        const int apart = i * kChannels + to, together = to * kLanes + i;
        split[to].take(i, apart / kLanes, apart % kLanes);
        join[to].take(i, together % kChannels, together / kChannels);
      }
    }
  }

  Taken split[kChannels], join[kChannels];
};

template <int kChannels>
constexpr Shuffles<kChannels> kShuffles;

template <int kChannels>
CNN_JAX_INLINE __m512 taken(const __m512* vectors, const Taken& what) {
  if (kChannels == 1) return vectors[0];
  const __m512i lanes = _mm512_load_si512(what.lane);
  __m512 result = _mm512_permutex2var_ps(vectors[0], lanes, vectors[1]);
#pragma GCC unroll 4
  for (int i = 2; i < kChannels; i += 2) {
    const __m512 second = vectors[i + 1 < kChannels ? i + 1 : i];
    const __m512 pair = _mm512_permutex2var_ps(vectors[i], lanes, second);
    result = _mm512_mask_mov_ps(result, what.from[i / 2], pair);
  }
  return result;
}

template <int kChannels, typename Number>
void split_pixels(const PixelsToSplit& p) {
  const auto* from = static_cast<const Number*>(p.from);
  for (int64_t i = 0; i < p.count; i += kLanes, from += kLanes * kChannels) {
    __m512 vectors[kChannels];
#pragma GCC unroll 8
    for (int j = 0; j < kChannels; ++j) {
      vectors[j] = load_some(from + kLanes * j, first_of((p.count - i) * kChannels - kLanes * j));
    }
#pragma GCC unroll 8
    for (int j = 0; j < kChannels; ++j) {
      const __m512 channel = taken<kChannels>(vectors, kShuffles<kChannels>.split[j]);
      store_some(channel, p.to + j * p.plane + i, first_of(p.count - i));
    }
  }
}

template <typename Number>
void split_pixels(const PixelsToSplit& p) {
  static constexpr void (*kSplits[kMostPlanes])(const PixelsToSplit&) = {
      split_pixels<1, Number>, split_pixels<2, Number>, split_pixels<3, Number>,
      split_pixels<4, Number>, split_pixels<5, Number>, split_pixels<6, Number>,
      split_pixels<7, Number>, split_pixels<8, Number>};
  kSplits[p.channels - 1](p);
}

void split(const PixelsToSplit& p) {
  p.type == Type::kFloat32 ? split_pixels<float>(p) : split_pixels<Bfloat16>(p);
}

template <int kChannels, int kVectors, typename Number>
void planar_tile(const PlanarTile& t) {
  // Several rows at once, where otherwise each product would wait for the last one's.
  constexpr int kRows = kVectors * kChannels < kInFlight ? kInFlight / (kVectors * kChannels) : 1;
  __m512 sums_of[kRows][kVectors][kChannels] = {};
  const auto add = [&](int64_t row, int rows) CNN_JAX_INLINE_LAMBDA {
    for (int64_t element = 0; element < t.elements; ++element) {
#pragma GCC unroll 8
      for (int k = 0; k < rows; ++k) {
        const float* from = t.rows[row + k] + t.places[element];
        const float* weights = t.weights[row + k] + element * kChannels;
        __m512 met[kVectors];
#pragma GCC unroll 4
        for (int i = 0; i < kVectors; ++i) met[i] = _mm512_loadu_ps(from + kLanes * i);
#pragma GCC unroll 8
        for (int j = 0; j < kChannels; ++j) {
          const __m512 weight = _mm512_set1_ps(weights[j]);
#pragma GCC unroll 4
          for (int i = 0; i < kVectors; ++i) {
            sums_of[k][i][j] = _mm512_fmadd_ps(met[i], weight, sums_of[k][i][j]);
          }
        }
      }
    }
  };
  int64_t row = 0;
  for (; row + kRows <= t.count; row += kRows) add(row, kRows);
  for (; row < t.count; ++row) add(row, 1);
  auto& sums = sums_of[0];
#pragma GCC unroll 8
  for (int k = 1; k < kRows; ++k) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < kChannels; ++j) sums[i][j] = _mm512_add_ps(sums[i][j], sums_of[k][i][j]);
    }
  }
  auto* to = static_cast<Number*>(t.to);
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kChannels; ++j) {
      const __m512 joined = taken<kChannels>(sums[i], kShuffles<kChannels>.join[j]);
      const int64_t before = (i * kChannels + j) * kLanes;
      store_some(joined, to + before, first_of(t.positions * kChannels - before));
    }
  }
}

template <int kChannels, typename Number>
PlanarProduct product_of(int vectors) {
  static constexpr PlanarProduct kTiles[kMostVectorsOfPositions] = {
      planar_tile<kChannels, 1, Number>, planar_tile<kChannels, 2, Number>,
      planar_tile<kChannels, 3, Number>, planar_tile<kChannels, 4, Number>};
  return kTiles[vectors - 1];
}

template <typename Number>
PlanarProduct product_of(int channels, int vectors) {
  static constexpr PlanarProduct (*kProducts[kMostPlanes])(int) = {
      product_of<1, Number>, product_of<2, Number>, product_of<3, Number>, product_of<4, Number>,
      product_of<5, Number>, product_of<6, Number>, product_of<7, Number>, product_of<8, Number>};
  return kProducts[channels - 1](vectors);
}

PlanarProduct product(Type type, int channels, int vectors) {
  return type == Type::kFloat32 ? product_of<float>(channels, vectors)
                                : product_of<Bfloat16>(channels, vectors);
}

template <int kChannels, int kElements>
void planar_sums(const PlanarSums& s) {
  __m512 sums[kElements][kChannels];
#pragma GCC unroll 3
  for (int i = 0; i < kElements; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kChannels; ++j) sums[i][j] = _mm512_setzero_ps();
  }
  int64_t places[kElements];
#pragma GCC unroll 3
  for (int i = 0; i < kElements; ++i) places[i] = s.offset + s.places[i];
  const int64_t plane = s.plane;
  const auto add = [&](const float* met, const float* gradient,
                       __mmask16 there) CNN_JAX_INLINE_LAMBDA {
    __m512 factors[kElements];
#pragma GCC unroll 3
    for (int i = 0; i < kElements; ++i) factors[i] = load_some(met + places[i], there);
#pragma GCC unroll 8
    for (int j = 0; j < kChannels; ++j) {
      const __m512 given = load_some(gradient + j * plane, there);
#pragma GCC unroll 3
      for (int i = 0; i < kElements; ++i) {
        sums[i][j] = _mm512_fmadd_ps(factors[i], given, sums[i][j]);
      }
    }
  };
  for (const PlanarRow* row = s.rows; row != s.rows + s.count; ++row) {
    int64_t at = 0;
    for (; at + kLanes <= row->positions; at += kLanes) add(row->met + at, row->gradient + at, 0xffff);
    // What lies past the end is not a number perhaps.
    if (at < row->positions) add(row->met + at, row->gradient + at, first_of(row->positions - at));
  }
  float* to = s.to;
#pragma GCC unroll 3
  for (int i = 0; i < kElements; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kChannels; ++j, to += kLanes) {
      _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), sums[i][j]));
    }
  }
}

template <int kChannels>
PlanarSum sum_of(int elements) {
  static constexpr PlanarSum kSums[kMostElementsOfSums] = {
      planar_sums<kChannels, 1>, planar_sums<kChannels, 2>, planar_sums<kChannels, 3>};
  return kSums[elements - 1];
}

PlanarSum sum(int channels, int elements) {
  static constexpr PlanarSum (*kSums[kMostPlanes])(int) = {sum_of<1>, sum_of<2>, sum_of<3>,
                                                           sum_of<4>, sum_of<5>, sum_of<6>,
                                                           sum_of<7>, sum_of<8>};
  return kSums[channels - 1](elements);
}

}  // namespace

extern const PlanarLoops planar_x86_64_v4;
const PlanarLoops planar_x86_64_v4 = {split, product, sum};

}  // namespace cnn_jax
