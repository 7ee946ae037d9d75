// How the work on rows of positions is shared out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

#include "product.h"
#include "sliding.h"
#include "winograd.h"

namespace cnn_jax {

// Rows are taken in segments where windows meet one row alone. Pieces of the work are some segments;
// how many doesn't depend on the number of threads, so that sums are the same with any.
class RowsCut {
 public:
  // Where each position has a result of so many channels. What is `followed` by work on it stays in the
  // cache for that.
  static RowsCut of_result(const Sliding& sliding, int64_t channels, bool followed);

  // Where all positions are added up to so many sums, those of a piece first.
  static RowsCut of_sums(const Sliding& sliding, int64_t sums);

  int64_t begin(int64_t piece) const {
    return piece / per_cut_ * per_picture_ + piece % per_cut_ * per_picture_ / per_cut_;
  }

  int64_t row(int64_t segment) const { return segment / segments_; }
  int64_t first(int64_t segment) const { return segment % segments_ * positions; }
  int64_t positions_of(int64_t segment) const {
    return std::min(positions, length_ - first(segment));
  }

  // The number of a segment's first position.
  int64_t position(int64_t segment) const { return row(segment) * length_ + first(segment); }

  // Calls body(piece) with each piece, and after it `finish`, if there is one, with its pixels.
  void each_piece(const ForEach& for_each, const Finishing& finish,
                  const std::function<void(int64_t)>& body) const;

  int64_t positions;  // of a segment, at the most
  int64_t pieces = 1;

 private:
  explicit RowsCut(const Sliding& sliding);

  int64_t segments_, length_;      // of a row
  int64_t total_;                  // segments
  int64_t per_picture_, per_cut_;  // segments of a picture, pieces of one
};

}  // namespace cnn_jax
