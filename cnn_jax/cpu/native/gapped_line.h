// The positions of a layer's output in one line, with gaps such that an element of the window meets
// the picture at one distance from all of them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "gradient_cut.h"
#include "lanes.h"

namespace cnn_jax {

// Rows of numbers on a grid, of which every so manieth of each axis counts.
struct Grid {
  Sizes count, step, first, size;
};

// An element of the window, and its distance.
struct Distance {
  int64_t element, distance;
};

// What elements of the window meet of the picture that lie a multiple of the stride apart.
struct Residue {
  Grid picture;
  std::vector<Distance> elements;
  int64_t least, most;  // of the distances
};

// Positions along an axis: how far apart is what two neighbours meet, and where the first meets each
// element of the window, among so many places.
struct LineAxis {
  int64_t count, step;
  std::vector<int64_t> shifts;
  int64_t size;
};

class GappedLine {
 public:
  GappedLine(int64_t batch, const std::array<LineAxis, 3>& axes);

  // Up to the last position.
  int64_t length() const;

  // Whether it is the picture itself, as it lies, without a gap.
  bool is_picture() const;

  // How far one of the line's places is from those that belong to it.
  int64_t reach() const;

  // Where the rows of these places begin, `nothing` in gaps and beyond the ends.
  template <typename Number>
  void find_rows(const Grid& grid, int64_t begin, int64_t end, Number* numbers, int64_t length,
                 Number* nothing, Number** rows) const;

  std::vector<Residue> residues;
  Sizes count;  // of positions

 private:
  const int64_t batch_;
  Sizes apart_;  // places of each axis
};

template <typename Number>
void GappedLine::find_rows(const Grid& grid, int64_t begin, int64_t end, Number* numbers,
                           int64_t length, Number* nothing, Number** rows) const {
  for (int64_t at = begin; at < end;) {
    const int64_t line = at >= 0 ? at / apart_[2] : (at + 1) / apart_[2] - 1;
    const int64_t from = at - line * apart_[2];
    const int64_t past = std::min(apart_[2], from + end - at);
    at += past - from;
    const int64_t rest = line / apart_[1];
    const int64_t places[2] = {rest % apart_[0], line % apart_[1]};
    int64_t row = rest / apart_[0];
    bool inside = line >= 0 && row < batch_;
    for (int axis = 0; axis < 2; ++axis) {
      inside &= places[axis] < grid.count[axis];
      row = row * grid.size[axis] + grid.first[axis] + places[axis] * grid.step[axis];
    }
    const int64_t filled = inside ? std::clamp(grid.count[2], from, past) : from;
    Number* number =
        numbers + (row * grid.size[2] + grid.first[2] + from * grid.step[2]) * length;
    for (int64_t place = from; place < filled; ++place, number += grid.step[2] * length) {
      *rows++ = number;
    }
    rows = std::fill_n(rows, past - filled, nothing);
  }
}

}  // namespace cnn_jax
