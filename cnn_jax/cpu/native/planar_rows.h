// Rows of a picture with their padding, and in float32, in which each channel has a row of its own.
#pragma once

#include <cstdint>

#include "configuration.h"
#include "planar_loops.h"
#include "sliding.h"

namespace cnn_jax {

// Copies neighbouring pixels, so many numbers from each other, to a row for each channel.
void split(const PlanarLoops& loops, const PixelsToSplit& pixels, int64_t step);

class PlanarRows {
 public:
  // Windows are at no more than `positions` positions of a row at once.
  PlanarRows(const Sliding& sliding, const PlanarLoops& loops, Type type, const void* given,
             int64_t channels, int64_t positions);

  // Numbers of a row with all channels, and with one of them.
  int64_t row() const { return channels_ * plane_; }
  int64_t plane() const { return plane_; }

  // Where in a channel's row that lies which an element of the window's row meets at the first
  // position; what it meets at the next ones follows.
  int64_t place(int64_t element) const {
    const int64_t at = element * sliding_.dilation[2];
    return at % sliding_.stride[2] * each_ + at / sliding_.stride[2];
  }

  // What windows meet on a line from a row's first of some positions on.
  void copy(const Line& line, int64_t first, float* to) const;

 private:
  const Sliding& sliding_;
  const PlanarLoops& loops_;
  const Type type_;
  const char* const given_;
  const int64_t channels_;
  const int64_t places_;  // of a row
  // Places that are a stride apart lie next to each other; those of a channel, and the numbers of each
  // that begins the row anew.
  const int64_t each_, plane_;
};

}  // namespace cnn_jax
