// The transforms of Winograd's F(2x2, 3x3), each on rows of `channels` consecutive numbers.
//
// With B, G and A of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016),
// 2x2 results of a 3x3 window g on a 4x4 patch d are A'[(G g G') * (B' d B)]A, products taken
// element by element; the gradient by g is the transposed map, G'[(A y A') * (B' d B)]G.
#pragma once

#include <cstdint>

namespace cnn_jax {

constexpr int kPatch = 4;                   // of the input, along each axis
constexpr int kTile = 2;                    // of the result
constexpr int kWindow = 3;                  // of the kernel
constexpr int kProducts = kPatch * kPatch;  // transformed elements of each

// A square of rows: that of element (i, j) begins at `corner + i * down + j * right`.
struct Square {
  float* corner;
  int64_t down;
  int64_t right;

  float* row(int i, int j) const { return corner + i * down + j * right; }
};

// A square whose rows lie anywhere.
template <int kSide>
struct LooseSquare {
  float* of[kSide * kSide];

  float* row(int i, int j) const { return of[i * kSide + j]; }
};

// The rows that are read and those that are written have no memory in common.
void transform_patch(const Square& patch, const Square& transformed, int64_t channels);
void transform_patch(const LooseSquare<kPatch>& patch, const Square& transformed, int64_t channels);
void transform_window(const Square& window, const Square& transformed, int64_t channels);
void transform_tile(const Square& tile, const Square& transformed, int64_t channels);
void transform_tile(const LooseSquare<kTile>& tile, const Square& transformed, int64_t channels);

void restore_tile(const Square& products, const Square& tile, int64_t channels);
void restore_tile(const Square& products, const LooseSquare<kTile>& tile, int64_t channels);
void restore_window(const Square& products, const Square& window, int64_t channels);

}  // namespace cnn_jax
