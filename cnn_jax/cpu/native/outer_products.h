// Sums of outer products, compiled for the processors whose registers hold a large tile of them.
#pragma once

#include <cstdint>

namespace cnn_jax {

// Positions one after the other: what lies on the picture at the first, and what is multiplied.
struct Run {
  const float* picture;
  const float* gradient;
  int64_t count;
};

// Memory that is wanted soon.
struct Ahead {
  const float* begin;
  const float* end;
};

// The result's rows lie `columns_apart` apart. `fresh`: what stood there is overwritten.
struct OuterProducts {
  const Run* runs;
  int64_t count;
  int64_t picture_step, gradient_step;  // from one position to the next
  int64_t rows, columns;
  float* result;
  int64_t columns_apart;
  bool fresh;
};

struct OuterProductLoops {
  // Adds up picture[row] * gradient[column] over all positions, and fetches what is wanted soon.
  void (*sum)(const OuterProducts&, Ahead* first, Ahead* second);

  void (*add)(float* total, const float* added, int64_t count);
};

// Columns are multiplied so many at a time.
constexpr int64_t kColumns = 16;

// Null on other processors.
const OuterProductLoops* outer_product_loops();

}  // namespace cnn_jax
