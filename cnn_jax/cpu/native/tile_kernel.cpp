#include "tile_kernel.h"

namespace cnn_jax {

TileKernel::TileKernel(const KernelMatrices& kernel)
    : kernel_(kernel),
      vectors_(divided_up(kernel.columns, kTileWide)),
      steps_(divided_up(kernel.length, kTileDeep)) {}

int64_t TileKernel::place(int64_t group, int64_t block, int64_t element) const {
  const int64_t before = group * vectors_ + block * kMostAcross;
  return (before * kernel_.elements() + element * across(block)) * depth() * kTileWide / 2;
}

void TileKernel::pack_block(const MatrixUnitLoops& loops, const Bfloat16* kernel, int64_t matrix,
                            int64_t block, NumberPair* to) const {
  const Bfloat16* const from =
      kernel + kernel_.place(matrix) + block * kMostAcross * kTileWide * kernel_.column_stride;
  for (int64_t k = 0; k < kernel_.length; k += kTileDeep) {
    const int64_t length = std::min(kTileDeep, kernel_.length - k);
    for (int64_t column = 0; column < columns(block); column += kTileWide) {
      const int64_t columns_left = std::min(kTileWide, columns(block) - column);
      const Bfloat16* const first =
          from + k * kernel_.length_stride + column * kernel_.column_stride;
      if (kernel_.column_stride == 1) {
        loops.pair_rows(first, kernel_.length_stride, length, columns_left, to);
      } else if (kernel_.length_stride == 1) {
        loops.pair_columns(first, kernel_.column_stride, length, columns_left, to);
      } else {
        Bfloat16 rows[kTileDeep * kTileWide];
        for (int64_t j = 0; j < columns_left; ++j) {
          for (int64_t i = 0; i < length; ++i) {
            rows[j * kTileDeep + i] =
                first[i * kernel_.length_stride + j * kernel_.column_stride];
          }
        }
        loops.pair_columns(rows, kTileDeep, length, columns_left, to);
      }
      to += kTileDeep / 2 * kTileWide;
    }
  }
}

}  // namespace cnn_jax
