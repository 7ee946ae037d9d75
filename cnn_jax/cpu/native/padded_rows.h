// Rows of a picture as a window slides along them: with their padding, and in float32. Those that
// the next windows meet again are kept, in a core's nearest caches.
#pragma once

#include <cstdint>
#include <vector>

#include "configuration.h"
#include "sliding.h"
#include "sliding_loops.h"
#include "workspace.h"

namespace cnn_jax {

class PaddedRows {
 public:
  // The rows are [block, pixel, width], the channels cut into blocks of which the last is filled with
  // zeros. Windows are at no more than `positions` positions of a row at once.
  PaddedRows(const Sliding& sliding, const SlidingLoops& loops, Type type, const void* given,
             int64_t channels, int64_t width, int64_t positions);

  // How many numbers the rows take.
  static double size(const Sliding& sliding, int64_t channels, int64_t width, int64_t positions);

  // Numbers from one block of a row to the next.
  int64_t block() const { return block_; }

  // The rows that windows meet which are at `positions` positions of a row, from `first` on, but for
  // those that are padding or nothing. The rows of positions are counted through all images.
  const std::vector<WindowRow>& met(int64_t row, int64_t first, int64_t positions);

 private:
  struct Kept {
    Line line;
    int64_t first;
  };

  // What lies at `count` places of a line, from `first` on.
  void copy(const Line& line, int64_t first, int64_t count, float* to);

  const Sliding& sliding_;
  const SlidingLoops& loops_;
  const Type type_;
  const char* const given_;
  const int64_t channels_, width_;
  const int64_t kept_each_;    // rows along the middle axis
  const int64_t pixels_;       // of a row
  const int64_t block_, row_;  // numbers
  const Workspace space_;
  std::vector<Kept> kept_;
  std::vector<WindowRow> met_;
};

}  // namespace cnn_jax
