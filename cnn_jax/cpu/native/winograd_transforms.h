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

// The squares that are read and written have no memory in common.
void transform_patch(Square patch, Square transformed, int64_t channels);
void transform_window(Square window, Square transformed, int64_t channels);
void transform_tile(Square tile, Square transformed, int64_t channels);

void restore_tile(Square products, Square tile, int64_t channels);
void restore_window(Square products, Square window, int64_t channels);

}  // namespace cnn_jax
