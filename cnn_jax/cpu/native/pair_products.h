// Sums of outer products of bfloat16 numbers, of two positions at once, compiled for the processors
// that have such an instruction.
#pragma once

#include <cstdint>

#include "lanes.h"

namespace cnn_jax {

// What the two positions of a pair have in one place, one after the other.
struct NumberPair {
  Bfloat16 first, second;
};

// Pairs of positions one after the other.
struct PairRun {
  const NumberPair* picture;
  const NumberPair* gradient;
  int64_t count;
};

// The result's rows lie `columns` apart, and so do those of the picture, `rows`. Of the gradient a
// vector's columns of all pairs lie together. `fresh`: what stood in the result is overwritten.
struct PairProducts {
  const PairRun* runs;
  int64_t count;
  int64_t vectors_apart;  // in the gradient
  int64_t rows, columns;
  float* result;
  bool fresh;
};

// Memory that is wanted soon.
struct MemoryAhead {
  const char* begin;
  const char* end;
};

// Where pairs go: those of the next vector of numbers, and those of the next rows, lie so far apart.
struct PairPlaces {
  NumberPair* pairs;
  int64_t vectors_apart, pairs_apart;
};

struct PairProductLoops {
  // Adds up picture[row] * gradient[column] over all positions, and fetches what is wanted soon.
  void (*sum)(const PairProducts&, MemoryAhead* first, MemoryAhead* second);

  // `count` pairs of rows of so many numbers, put in pairs of numbers.
  void (*pair)(const Bfloat16* const* rows, int64_t count, int64_t length, const PairPlaces& to);

  // The sum of `parts` arrays, `apart` from one another, and rounded.
  void (*add)(const float* parts, int64_t count_of_parts, int64_t apart, int64_t count,
              Bfloat16* total);
};

// Null on other processors.
const PairProductLoops* pair_product_loops();

}  // namespace cnn_jax
