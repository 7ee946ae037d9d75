// Products of rows an equal distance apart with packed matrices, compiled for the processors whose
// registers hold a large tile of the result.
#pragma once

#include <cstdint>

#include "sliding_loops.h"

namespace cnn_jax {

// A tile has a row for each of some neighbouring positions, and some vectors of columns. It is the sum
// of `count` products of rows of `length` numbers with matrices [length, whole vectors of columns].
struct SpacedProducts {
  const WindowRow* met;  // what the first position meets, and which matrix that is multiplied by
  int64_t count, length;
  int64_t apart;   // numbers from one position's row to the next
  int64_t offset;  // of the first position's
  const float* matrices;
  int64_t matrix;  // numbers of one
  float* to;
  int64_t to_step;   // from one position to the next
  int64_t columns;   // that are written
  bool past_caches;  // the result goes to memory at once; only in whole vectors, at their addresses
};

using SpacedProduct = void (*)(const SpacedProducts&);

// Neighbouring positions of a result, of at most a vector of channels, each the sum of some terms.
struct SpacedTerms {
  const float* const* terms;  // at the first position
  int64_t count, step;        // of them, and from one position to the next
  int64_t positions, channels;
  float* to;
  int64_t to_step;
};

struct SpacedProductLoops {
  // The positions of a tile that is so many vectors wide, at the most.
  int (*most_positions)(int wide);

  SpacedProduct (*product)(int positions, int wide, int64_t apart);

  void (*add_up)(const SpacedTerms&);

  // After results that went past the caches.
  void (*finish_stores)();
};

// Null on other processors.
const SpacedProductLoops* spaced_product_loops();

}  // namespace cnn_jax
