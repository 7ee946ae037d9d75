// A kernel as the processor's matrix units take it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "matrix_units.h"
#include "packed_kernel.h"

namespace cnn_jax {

// [group, block of columns, element of the window, 32 numbers of the length, vector of columns], each
// of these 16 pairs by 16 columns. What fills the length, and the last vector, is zero.
class TileKernel {
 public:
  explicit TileKernel(const KernelMatrices& matrices);

  int64_t size() const { return matrices() * vectors_ * depth() * kTileWide / 2; }  // pairs
  int64_t matrices() const { return kernel_.groups * kernel_.elements(); }
  int64_t blocks() const { return divided_up(vectors_, kMostAcross); }
  int64_t depth() const { return steps_ * kTileDeep; }

  int64_t columns(int64_t block) const {
    return std::min(kMostAcross * kTileWide, kernel_.columns - block * kMostAcross * kTileWide);
  }

  // Pairs of a matrix's block.
  int64_t size(int64_t block) const { return across(block) * depth() * kTileWide / 2; }

  // Where the block of a matrix stands.
  int64_t place(int64_t group, int64_t block, int64_t element) const;

  // Packs a block of one of the matrices, to where it shall stand.
  void pack_block(const MatrixUnitLoops& loops, const Bfloat16* kernel, int64_t matrix, int64_t block,
                  NumberPair* to) const;

 private:
  int64_t across(int64_t block) const {
    return std::min(kMostAcross, vectors_ - block * kMostAcross);
  }

  const KernelMatrices kernel_;
  const int64_t vectors_, steps_;
};

}  // namespace cnn_jax
