// Products of rows that lie anywhere with packed matrices, compiled for the processors whose registers
// hold a large tile of the result.
#pragma once

#include <cstdint>

namespace cnn_jax {

// Numbers computed with at once.
constexpr int64_t kVector = 16;
// A tile is so many rows, and vectors or columns, at the most.
constexpr int kMostWide = 4;
constexpr int kMostRows = 14;

// How products are added up: for a vector of neighbouring columns, of each number of a row with a row
// of the matrix; or, where columns are few, for each column of a vector of numbers of the row.
enum class Along { kColumns, kRow };

// A tile is the sum of `count` products, of rows of `length` numbers, as many as the tile has, with
// matrices. These are packed as [length, whole vectors of columns], or as [columns, whole vectors of
// the length].
struct RowProducts {
  const float* const* rows;      // [count, tile's rows]
  const float* const* matrices;  // [count]
  int64_t count;
  int64_t length;
  float* const* to;  // [tile's rows], each with the place of its first column
  int64_t column;
  int64_t columns;  // that are written
  bool fresh;       // what stood there is overwritten
};

using RowProduct = void (*)(const RowProducts&);

// A number for each row of a tile, of which there are never more.
constexpr int kTileRows = 16;
struct RowNumbers {
  int64_t of[kTileRows];
};

// How far what a row meets lies from its image's first; or that it is padding.
constexpr int64_t kOutside = -1;

// Along an axis of so many places, `stride` numbers apart, the rows of a tile lie at these, and what
// they meet at an element of the window lies `shifts` from there.
struct RowAxis {
  RowNumbers places;
  const int64_t* shifts;  // [elements]
  int64_t elements, size, stride;
};

struct RowPlaces {
  const float* const* images;  // [kTileRows], the first row of each position's image
  const RowNumbers* outer;     // offsets along the outer axes, [elements of these]
  const RowNumbers* last;      // offsets along the last axis, [elements of it]
  int64_t lasts;
  const float* nothing;  // the row that stands for padding
  int size;              // of the tile
};

struct RowProductLoops {
  // The offsets of each row, by the elements along the two outer of three axes and along the last.
  void (*offsets)(const RowAxis* axes, RowNumbers* outer, RowNumbers* last);

  // The rows at the elements [first, last), and the numbers of those elements at which any of the
  // tile's rows meets more than padding; returns how many these are. `rows` has room for kTileRows more.
  int64_t (*find)(const RowPlaces&, int64_t first, int64_t last, const float** rows,
                  int64_t* elements);

  // The rows of a tile that is so many vectors, or columns, wide, at the most.
  int (*most_rows)(int wide);

  RowProduct (*product)(Along along, int rows, int wide);
};

// Null on other processors.
const RowProductLoops* row_product_loops();

}  // namespace cnn_jax
