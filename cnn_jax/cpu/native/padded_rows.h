// Rows of a picture with their padding, and in float32.
#pragma once

#include <cstdint>

#include "configuration.h"
#include "sliding.h"
#include "sliding_loops.h"

namespace cnn_jax {

class PaddedRows {
 public:
  // The rows are [block, pixel, width], the channels cut into blocks of which the last is filled with
  // zeros. Windows are at no more than `positions` positions of a row at once.
  PaddedRows(const Sliding& sliding, const SlidingLoops& loops, Type type, const void* given,
             int64_t channels, int64_t width, int64_t positions);

  // Numbers of a row, and from one of its blocks to the next.
  int64_t row() const { return row_; }
  int64_t block() const { return block_; }

  // What windows meet on a line from a row's first of some positions on.
  void copy(const Line& line, int64_t first, float* to) const;

 private:
  const Sliding& sliding_;
  const SlidingLoops& loops_;
  const Type type_;
  const char* const given_;
  const int64_t channels_, width_;
  const int64_t pixels_;       // of a row
  const int64_t block_, row_;  // numbers
};

}  // namespace cnn_jax
