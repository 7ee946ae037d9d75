// Sums of outer products of bfloat16 numbers, of 32 positions and 16 by 16 numbers at once, compiled
// for the processors whose units multiply small matrices.
#pragma once

#include <cstdint>

#include "lanes.h"
#include "pair_products.h"

namespace cnn_jax {

constexpr int64_t kPositionsAtOnce = 32;
constexpr int64_t kRowsAtOnce = 16;

// An element of the window: where what it meets of the picture begins, and its part of the result.
struct MatrixElement {
  const Bfloat16* picture;
  float* result;
};

// The picture's numbers lie channel by channel, those of the gradient in pairs of positions, as
// PairProducts has them. Positions fill products, and rows and columns do. The result's rows lie
// `columns` apart. `fresh`: what stood in the result is overwritten.
struct MatrixProducts {
  const MatrixElement* elements;
  int64_t count;
  const NumberPair* gradient;
  int64_t picture_apart, vectors_apart;
  int64_t positions, rows, columns;
  bool fresh;
};

struct MatrixUnitLoops {
  // Called before and after products, by the thread that has them computed.
  void (*begin)();
  void (*end)();

  // Adds up picture[row] * gradient[column] over all positions, for each element.
  void (*sum)(const MatrixProducts&);

  // Writes rows of channels, one for each position, as rows of positions, `apart` from one another.
  // Positions are so many that products are filled, and so are channels where there are others than
  // `length`. Returns whether all numbers are finite.
  bool (*turn)(const Bfloat16* const* rows, int64_t count, int64_t length, Bfloat16* to,
               int64_t apart);
};

// Null on other processors, and where the system doesn't let the process use them.
const MatrixUnitLoops* matrix_unit_loops();

}  // namespace cnn_jax
