// Sums of outer products of bfloat16 numbers, of 32 positions and 16 by 16 numbers at once, compiled
// for the processors whose units multiply small matrices.
#pragma once

#include <cstdint>

#include "lanes.h"
#include "pair_products.h"

namespace cnn_jax {

constexpr int64_t kPositionsAtOnce = 32;
constexpr int64_t kRowsAtOnce = 16;

// Of a product with a kernel: numbers that are multiplied at once, columns of a tile, and tiles that
// are computed side by side.
constexpr int64_t kTileDeep = 32, kTileWide = 16, kMostAcross = 2;

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

// What positions meet at an element of the window: the first one's row, and the matrix.
struct TileElement {
  const Bfloat16* row;
  const NumberPair* matrix;
};

// A block of columns, at positions [first, past), of the sum of products of rows, `apart` from one
// position to the next, with matrices. Positions that don't fill tiles are followed by others that may
// be read.
struct TileProducts {
  const TileElement* elements;
  int64_t count;
  int64_t apart, depth;
  Bfloat16* const* to;  // of all positions
  int64_t first, past;
  int64_t column, columns;  // of the result
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

  void (*product)(const TileProducts&);

  // Writes rows one after the other, `apart`, those of `length` filled with zeros up to a `depth`.
  void (*gather)(const Bfloat16* const* rows, int64_t count, int64_t length, int64_t depth,
                 Bfloat16* to, int64_t apart);

  // Pairs of a matrix's rows, or of its columns' numbers, filled with zeros to a tile. What is given
  // lies row by row, or column by column, `apart`.
  void (*pair_rows)(const Bfloat16* from, int64_t apart, int64_t length, int64_t columns,
                    NumberPair* to);
  void (*pair_columns)(const Bfloat16* from, int64_t apart, int64_t length, int64_t columns,
                       NumberPair* to);
};

// Null on other processors, and where the system doesn't let the process use them.
const MatrixUnitLoops* matrix_unit_loops();

}  // namespace cnn_jax
