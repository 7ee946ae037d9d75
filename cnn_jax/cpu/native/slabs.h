// Slabs of pictures with their padding, and in float32, in which what a window meets lies at the same
// distances wherever it is.
#pragma once

#include <cstdint>
#include <vector>

#include "padded_rows.h"
#include "sliding.h"
#include "sliding_loops.h"

namespace cnn_jax {

class Slabs {
 public:
  // Pictures are cut along their first axis. Each position has so many results; if these are `followed`
  // by work on them, those of a slab stay in the cache for that.
  Slabs(const Sliding& sliding, const PaddedRows& rows, int64_t results, bool followed);

  int64_t slabs() const { return sliding_.batch * parts_; }

  // Numbers of the largest.
  int64_t size() const;

  // The first row of a slab's positions, the rows counted through all images.
  int64_t first_row(int64_t slab) const;

  // Copies a slab, and calls body(row, met, offset) with each row of its positions: the rows that the
  // window meets there lie so far from those that are `met`.
  template <typename Body>
  void each_row(int64_t slab, float* space, const Body& body) const {
    const Sliding& s = sliding_;
    const Part part = part_of(slab);
    copy(part, space);
    const int64_t slice = s.length(1, part.count[1]) * rows_.row();
    std::vector<WindowRow> met;
    Elements slices = {-1, -1}, lines = slices;
    int64_t row = first_row(slab);
    for (int64_t i = 0; i < part.count[0]; ++i) {
      for (int64_t j = 0; j < part.count[1]; ++j, ++row) {
        const Elements outer = s.met(0, part.first[0] + i), inner = s.met(1, part.first[1] + j);
        if (!(outer == slices && inner == lines)) {
          slices = outer;
          lines = inner;
          find(slices, lines, space, slice, met);
        }
        body(row, met, i * s.stride[0] * slice + j * s.stride[1] * rows_.row());
      }
    }
  }

 private:
  // Positions along the two outer axes.
  struct Part {
    int64_t image, first[2], count[2];
  };

  int64_t begin(int64_t part) const { return part * sliding_.result[axis_] / parts_; }
  Part part_of(int64_t slab) const;
  int64_t size_of(const Part& part) const;
  void copy(const Part& part, float* space) const;
  void find(const Elements& slices, const Elements& lines, const float* space, int64_t slice,
            std::vector<WindowRow>& met) const;

  const Sliding& sliding_;
  const PaddedRows& rows_;
  const int axis_;
  int64_t parts_ = 1;  // of a picture
};

}  // namespace cnn_jax
