// Compiled for processors with matrix units, whatever the rest is compiled for. What the linker
// could take for another file's is kept out.
#include "matrix_units.h"

#include <atomic>

#include "paired_rows.h"

namespace cnn_jax {
namespace {

constexpr int kVector = 16;
constexpr int kTiles = 8;
constexpr int64_t kPositionsKept = 512;  // measured
constexpr int64_t kTileBytes = kVector * sizeof(NumberPair);  // of a row
constexpr int64_t kTilePairs = kVector * kVector;

// As the processor reads it.
struct alignas(64) TileShapes {
  uint8_t palette, first_row, reserved[14];
  uint16_t bytes_of_row[16];
  uint8_t rows[16];
};

constexpr TileShapes whole_tiles() {
  TileShapes shapes = {};
  shapes.palette = 1;
  for (int tile = 0; tile < kTiles; ++tile) {
    shapes.bytes_of_row[tile] = kTileBytes;
    shapes.rows[tile] = kRowsAtOnce;
  }
  return shapes;
}

// Compilers don't see which memory the instructions read: this one is never written.
constexpr TileShapes kWholeTiles = whole_tiles();

void begin() { _tile_loadconfig(&kWholeTiles); }

void end() { _tile_release(); }

// What tiles of the result are made of.
struct TileSums {
  const Bfloat16* picture;
  const NumberPair* gradient;
  size_t picture_apart, result_apart;  // bytes
  int64_t vectors_apart, positions;
  bool fresh;
};

// Of a result of two by two tiles, or of one row or one column of them, tiles 0 to 3 are the sums, 4
// and 5 the picture, 6 and 7 the gradient.
template <int kDown, int kAcross>
void sum_tiles(const TileSums& p, float* result) {
  float* const below = result + kVector * (p.result_apart / sizeof(float));
  if (p.fresh) {
    _tile_zero(0);
    if (kAcross > 1) _tile_zero(1);
    if (kDown > 1) _tile_zero(2);
    if (kDown > 1 && kAcross > 1) _tile_zero(3);
  } else {
    _tile_loadd(0, result, p.result_apart);
    if (kAcross > 1) _tile_loadd(1, result + kVector, p.result_apart);
    if (kDown > 1) _tile_loadd(2, below, p.result_apart);
    if (kDown > 1 && kAcross > 1) _tile_loadd(3, below + kVector, p.result_apart);
  }
  const Bfloat16* picture = p.picture;
  const NumberPair* gradient = p.gradient;
  for (int64_t left = p.positions; left > 0; left -= kPositionsAtOnce) {
    _tile_loadd(4, picture, p.picture_apart);
    _tile_loadd(6, gradient, kTileBytes);
    _tile_dpbf16ps(0, 4, 6);
    if (kAcross > 1) {
      _tile_loadd(7, gradient + p.vectors_apart, kTileBytes);
      _tile_dpbf16ps(1, 4, 7);
    }
    if (kDown > 1) {
      _tile_loadd(5, picture + kRowsAtOnce * (p.picture_apart / sizeof(Bfloat16)), p.picture_apart);
      _tile_dpbf16ps(2, 5, 6);
    }
    if (kDown > 1 && kAcross > 1) _tile_dpbf16ps(3, 5, 7);
    picture += kPositionsAtOnce;
    gradient += kPositionsAtOnce / 2 * kVector;
  }
  _tile_stored(0, result, p.result_apart);
  if (kAcross > 1) _tile_stored(1, result + kVector, p.result_apart);
  if (kDown > 1) _tile_stored(2, below, p.result_apart);
  if (kDown > 1 && kAcross > 1) _tile_stored(3, below + kVector, p.result_apart);
}

// What so many positions have for tiles of the result stays in the nearest cache while elements of
// the window go over it.
void sum_some(const MatrixProducts& p, int64_t begin, int64_t count) {
  const auto bytes = [](int64_t numbers, size_t size) {
    return static_cast<size_t>(numbers) * size;
  };
  TileSums tiles = {nullptr,
                    nullptr,
                        bytes(p.picture_apart, sizeof(Bfloat16)),
                        bytes(p.columns, sizeof(float)),
                        p.vectors_apart,
                        count,
                        p.fresh && begin == 0};
  for (int64_t row = 0; row < p.rows; row += 2 * kRowsAtOnce) {
    const bool down = p.rows - row > kRowsAtOnce;
    for (int64_t column = 0; column < p.columns; column += 2 * kVector) {
      const bool across = p.columns - column > kVector;
      const auto sum = down ? across ? sum_tiles<2, 2> : sum_tiles<2, 1>
                            : across ? sum_tiles<1, 2> : sum_tiles<1, 1>;
      tiles.gradient = p.gradient + column / kVector * p.vectors_apart + begin / 2 * kVector;
      for (int64_t number = 0; number < p.count; ++number) {
        const MatrixElement& element = p.elements[number];
        tiles.picture = element.picture + row * p.picture_apart + begin;
        sum(tiles, element.result + row * p.columns + column);
      }
    }
  }
}

void sum(const MatrixProducts& p) {
  // Of what the compiler doesn't see, all is written before, and read after.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  for (int64_t begin = 0; begin < p.positions; begin += kPositionsKept) {
    const int64_t left = p.positions - begin;
    sum_some(p, begin, left < kPositionsKept ? left : kPositionsKept);
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

// Exchanges the rows and the columns of 16 by 16 pairs.
CNN_JAX_INLINE void exchange(__m512i (&rows)[kVector]) {
  __m512i twos[kVector], fours[kVector];
#pragma GCC unroll 8
  for (int i = 0; i < kVector; i += 2) {
    twos[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    twos[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kVector; i += 4) {
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      fours[i + 2 * j] = _mm512_unpacklo_epi64(twos[i + j], twos[i + 2 + j]);
      fours[i + 2 * j + 1] = _mm512_unpackhi_epi64(twos[i + j], twos[i + 2 + j]);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i a = _mm512_shuffle_i32x4(fours[j], fours[4 + j], 0x88);
    const __m512i b = _mm512_shuffle_i32x4(fours[8 + j], fours[12 + j], 0x88);
    const __m512i c = _mm512_shuffle_i32x4(fours[j], fours[4 + j], 0xdd);
    const __m512i d = _mm512_shuffle_i32x4(fours[8 + j], fours[12 + j], 0xdd);
    rows[j] = _mm512_shuffle_i32x4(a, b, 0x88);
    rows[4 + j] = _mm512_shuffle_i32x4(c, d, 0x88);
    rows[8 + j] = _mm512_shuffle_i32x4(a, b, 0xdd);
    rows[12 + j] = _mm512_shuffle_i32x4(c, d, 0xdd);
  }
}

CNN_JAX_INLINE void store_exchanged(__m512i (&rows)[kVector], Bfloat16* to, int64_t apart) {
  exchange(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kVector; ++i) _mm512_storeu_si512(to + i * apart, rows[i]);
}

bool turn(const Bfloat16* const* rows, int64_t count, int64_t length, Bfloat16* to,
          int64_t apart) {
  const __m512i low = places_of_pairs(0), high = places_of_pairs(kVector);
  const __m512i size = _mm512_set1_epi16(0x7fff);
  __m512i largest = _mm512_setzero_si512();
  for (int64_t at = 0; at < count; at += kPositionsAtOnce, rows += kPositionsAtOnce) {
    for (int64_t channel = 0; channel < length; channel += 2 * kVector) {
      const int64_t left = length - channel;
      const __mmask32 which = left >= 2 * kVector ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
      __m512i first[kVector], second[kVector];
#pragma GCC unroll 16
      for (int i = 0; i < kVector; ++i) {
        const __m512i a = _mm512_maskz_loadu_epi16(which, rows[2 * i] + channel);
        const __m512i b = _mm512_maskz_loadu_epi16(which, rows[2 * i + 1] + channel);
        largest = _mm512_max_epu16(largest, _mm512_and_si512(a, size));
        largest = _mm512_max_epu16(largest, _mm512_and_si512(b, size));
        first[i] = _mm512_permutex2var_epi16(a, low, b);
        second[i] = _mm512_permutex2var_epi16(a, high, b);
      }
      store_exchanged(first, to + channel * apart + at, apart);
      if (left > kVector) store_exchanged(second, to + (channel + kVector) * apart + at, apart);
    }
  }
  const __m512i infinity = _mm512_set1_epi16(0x7f80);
  return _mm512_cmpge_epu16_mask(largest, infinity) == 0;
}

// Of tiles as above, 4 and 5 are rows of the positions, 6 and 7 the matrix.
template <int kDown, int kAcross>
CNN_JAX_INLINE void multiply_tiles(const TileProducts& p, int64_t first, float* sums) {
  const size_t apart = static_cast<size_t>(p.apart) * sizeof(Bfloat16);
  _tile_zero(0);
  if (kAcross > 1) _tile_zero(1);
  if (kDown > 1) _tile_zero(2);
  if (kDown > 1 && kAcross > 1) _tile_zero(3);
  for (int64_t number = 0; number < p.count; ++number) {
    const Bfloat16* row = p.elements[number].row + first * p.apart;
    const NumberPair* matrix = p.elements[number].matrix;
    for (int64_t at = 0; at < p.depth; at += kTileDeep) {
      _tile_loadd(4, row, apart);
      _tile_loadd(6, matrix, kTileBytes);
      _tile_dpbf16ps(0, 4, 6);
      if (kAcross > 1) {
        _tile_loadd(7, matrix + kTilePairs, kTileBytes);
        _tile_dpbf16ps(1, 4, 7);
      }
      if (kDown > 1) {
        _tile_loadd(5, row + kVector * p.apart, apart);
        _tile_dpbf16ps(2, 5, 6);
      }
      if (kDown > 1 && kAcross > 1) _tile_dpbf16ps(3, 5, 7);
      row += kTileDeep;
      matrix += kAcross * kTilePairs;
    }
  }
  constexpr size_t kSumBytes = kAcross * kTileBytes;
  _tile_stored(0, sums, kSumBytes);
  if (kAcross > 1) _tile_stored(1, sums + kVector, kSumBytes);
  if (kDown > 1) _tile_stored(2, sums + kAcross * kVector * kVector, kSumBytes);
  if (kDown > 1 && kAcross > 1) {
    _tile_stored(3, sums + (kAcross * kVector + 1) * kVector, kSumBytes);
  }
}

template <int kAcross>
CNN_JAX_INLINE void store_rows(const float* sums, const TileProducts& p, int64_t first,
                               int64_t count) {
  const __mmask32 which = p.columns == 2 * kVector ? ~__mmask32{0} : (__mmask32{1} << p.columns) - 1;
  for (int64_t i = 0; i < count; ++i, sums += kAcross * kVector) {
    Bfloat16* const to = p.to[first + i] + p.column;
    const __m512 low = _mm512_load_ps(sums);
    if (kAcross == 1) {
      const auto half = (__m256i)_mm512_cvtneps_pbh(low);
      _mm256_mask_storeu_epi16(to, static_cast<__mmask16>(which), half);
    } else {
      const auto whole = (__m512i)_mm512_cvtne2ps_pbh(_mm512_load_ps(sums + kVector), low);
      _mm512_mask_storeu_epi16(to, which, whole);
    }
  }
}

template <int kAcross>
void multiply(const TileProducts& p) {
  alignas(64) float sums[2 * kVector * kAcross * kVector];
  for (int64_t first = p.first; first < p.past; first += 2 * kVector) {
    const int64_t left = p.past - first;
    if (left > kVector) {
      multiply_tiles<2, kAcross>(p, first, sums);
    } else {
      multiply_tiles<1, kAcross>(p, first, sums);
    }
    store_rows<kAcross>(sums, p, first, left < 2 * kVector ? left : 2 * kVector);
  }
}

void product(const TileProducts& p) {
  // As in sum.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  p.columns > kVector ? multiply<2>(p) : multiply<1>(p);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

void gather(const Bfloat16* const* rows, int64_t count, int64_t length, int64_t depth, Bfloat16* to,
            int64_t apart) {
  for (int64_t row = 0; row < count; ++row, to += apart) {
    for (int64_t at = 0; at < depth; at += kTileDeep) {
      const int64_t left = length - at;
      const __mmask32 which = left >= kTileDeep ? ~__mmask32{0} : (__mmask32{1} << left) - 1;
      _mm512_storeu_si512(to + at, _mm512_maskz_loadu_epi16(which, rows[row] + at));
    }
  }
}

void pair_rows(const Bfloat16* from, int64_t apart, int64_t length, int64_t columns,
               NumberPair* to) {
  const __m512i places = places_of_pairs(0);
  const __mmask32 which = (__mmask32{1} << columns) - 1;
  for (int64_t row = 0; row < kTileDeep; row += 2, from += 2 * apart, to += kVector) {
    const __m512i none = _mm512_setzero_si512();
    const __m512i a = row < length ? _mm512_maskz_loadu_epi16(which, from) : none;
    const __m512i b = row + 1 < length ? _mm512_maskz_loadu_epi16(which, from + apart) : none;
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(a, places, b));
  }
}

void pair_columns(const Bfloat16* from, int64_t apart, int64_t length, int64_t columns,
                  NumberPair* to) {
  const __mmask32 which = length == kTileDeep ? ~__mmask32{0} : (__mmask32{1} << length) - 1;
  __m512i rows[kVector];
#pragma GCC unroll 16
  for (int i = 0; i < kVector; ++i) {
    rows[i] = _mm512_maskz_loadu_epi16(i < columns ? which : 0, from + i * apart);
  }
  exchange(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kVector; ++i) _mm512_storeu_si512(to + i * kVector, rows[i]);
}

}  // namespace

extern const MatrixUnitLoops matrix_units_amx_bf16;
const MatrixUnitLoops matrix_units_amx_bf16 = {begin,  end,    sum,       turn,
                                               product, gather, pair_rows, pair_columns};

}  // namespace cnn_jax
