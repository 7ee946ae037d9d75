// What the windows at some positions of a result meet: rows of channels, where they lie.
#pragma once

#include <cstdint>
#include <vector>

#include "configuration.h"
#include "row_products.h"

namespace cnn_jax {

// Positions along one axis of a result that meet the same elements of the window. Of an input
// gradient these are as many apart as the stride; forward, all positions are alike.
struct Phase {
  int64_t first, apart, count;    // the positions
  int64_t step;                   // of what is met, from one of them to the next
  std::vector<int64_t> elements;  // of the window
  std::vector<int64_t> shifts;    // by element: what the first position meets
};

// A convolution or an input gradient: what is given, and the result. Axes that are missing stand first.
struct Correlation {
  explicit Correlation(const Configuration& configuration);

  int64_t groups, batch;
  int64_t length, columns;  // the channels of a group that are given, and those made
  int64_t given[3], made[3], window[3];  // sizes
  int64_t given_stride[3], result_stride[3], given_image, result_image;
  std::vector<Phase> phases[3];
};

// The positions that are in a phase along each axis, image by image.
struct Part {
  const Phase* axes[3];
  int64_t positions;
  std::vector<int64_t> elements;  // of the window
};

std::vector<Part> parts_of(const Correlation& correlation);

// Some positions that follow each other in a part, and the rows that their windows meet.
class TileRows {
 public:
  // `nothing` is the row that stands for padding.
  TileRows(const Correlation& correlation, const RowProductLoops& loops, const float* nothing,
           int64_t most_elements);

  // Positions [begin, end), which are at most kMostRows.
  void move_to(const Part& part, int64_t group, int64_t begin, int64_t end, const float* given,
               float* result);

  // The rows that elements [first, last) of the part meet.
  void find(int64_t first, int64_t last);

  int size() const { return size_; }
  float* const* results() const { return results_; }
  const float* const* rows() const { return rows_.data(); }  // [elements, size]
  // Elements of the window, so many; those that meet padding at every position are left out.
  const int64_t* elements() const { return elements_.data(); }
  int64_t count() const { return found_; }

 private:
  void take(const Part& part);
  void find_positions(int64_t group, int64_t begin, const float* given, float* result);

  const Correlation& correlation_;
  const RowProductLoops& loops_;
  const float* const nothing_;
  const Part* part_ = nullptr;
  int size_ = 0;
  const float* images_[kTileRows] = {};
  float* results_[kMostRows];
  RowAxis axes_[3] = {};
  std::vector<RowNumbers> outer_, last_;  // offsets along the two outer axes, and along the last
  int64_t found_ = 0;
  std::vector<const float*> rows_;
  std::vector<int64_t> elements_;
};

}  // namespace cnn_jax
