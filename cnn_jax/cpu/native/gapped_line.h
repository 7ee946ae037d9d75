// The positions of a layer's output in one line, with gaps such that an element of the window meets
// the picture at one distance from all of them.
#pragma once

#include <cstdint>
#include <vector>

#include "configuration.h"
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

class GappedLine {
 public:
  explicit GappedLine(const Configuration& configuration);

  // Up to the last position.
  int64_t length() const;

  // How far one of the line's places is from those that belong to it.
  int64_t reach() const;

  // Where the rows of these places begin, `nothing` in gaps and beyond the ends.
  void find_rows(const Grid& grid, int64_t begin, int64_t end, const Bfloat16* numbers,
                 int64_t length, const Bfloat16* nothing, const Bfloat16** rows) const;

  std::vector<Residue> residues;
  Grid gradient;

 private:
  const int64_t batch_;
  Sizes apart_;  // places of each axis
};

}  // namespace cnn_jax
