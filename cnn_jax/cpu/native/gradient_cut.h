// How a kernel gradient is cut into pieces of work.
#pragma once

#include <cstdint>
#include <vector>

#include "configuration.h"

namespace cnn_jax {

// The sizes along the three axes; those that are missing stand first.
struct Sizes {
  int64_t of[3];

  Sizes(const std::vector<int64_t>& sizes, int64_t missing);

  int64_t operator[](int axis) const { return of[axis]; }
  int64_t product() const { return of[0] * of[1] * of[2]; }
};

// Some positions of the output along its last axis.
struct Piece {
  int64_t image, place[3];
  int64_t end;  // past its last position along the last axis
};

// Pieces of the output's rows, in the order of memory, are cut into parts, the window's elements into
// groups, and the input's channels into blocks. How doesn't depend on the number of threads, so that
// sums are the same with any.
class GradientCut {
 public:
  // So many positions are taken together: what lies there stays in a core's nearest caches.
  GradientCut(const Configuration& configuration, int64_t together);

  Piece piece(int64_t number) const;

  // Where an element of the window lies on the picture for the first position.
  Sizes shifts_of(int64_t element) const;

  // The row of the picture that a piece meets with such shifts, image by image; negative outside.
  int64_t row_of(const Piece& piece, const Sizes& shifts) const;

  // The first position of a piece, in the order of memory.
  int64_t position_of(int64_t number) const;

  // The picture up to this number is what the pieces before this one need of it.
  int64_t picture_before(int64_t number) const;

  const Sizes input, output, window, stride, dilation, low;
  const int64_t in, out;
  const int64_t picture_size, size;  // of the picture, and of the gradient
  int64_t per_row, length;  // pieces of a row, and positions of each but the last
  int64_t total;            // pieces
  int64_t together;         // pieces
  int64_t parts, groups, blocks;
};

// The sums that a piece of work makes: of some pieces, for some elements and channels.
struct GradientShare {
  int64_t first_piece, past_piece, first_element, past_element, channel, channels;
};

GradientShare share_of(const GradientCut& cut, int64_t part, int64_t group, int64_t block);

}  // namespace cnn_jax
