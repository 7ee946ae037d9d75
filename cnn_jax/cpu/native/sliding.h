// A convolution as a window that slides over a picture.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "configuration.h"

namespace cnn_jax {

// A line of pixels, along the last axis.
struct Line {
  int64_t image, slice, line;

  bool operator==(const Line& other) const {
    return image == other.image && slice == other.slice && line == other.line;
  }
};

// Neighbouring pixels of a line, and where the first of them lies among those that windows meet.
struct Pixels {
  int64_t first, count, place;
};

// Neighbouring elements of a window along an axis.
struct Elements {
  int64_t begin, end;

  bool operator==(const Elements& other) const { return begin == other.begin && end == other.end; }
};

// What a window slides over, and the positions that it takes. An input gradient's slides over the
// gradient of the output, spread out by the stride, with the kernel reversed; a kernel gradient's
// goes as the convolution's own does. Axes that are missing stand first.
struct Sliding {
  explicit Sliding(const Configuration& configuration);

  int64_t elements() const { return window[0] * window[1] * window[2]; }
  int64_t rows() const { return result[0] * result[1]; }  // of an image's positions

  // From the first to the last number that the window meets at once along an axis.
  int64_t reach(int axis) const { return (window[axis] - 1) * dilation[axis] + 1; }

  // Where a row of positions begins, the rows counted through all images.
  int64_t result_row(int64_t row) const {
    return row / rows() * result_image + row % rows() / result[1] * result_stride[0] +
           row % result[1] * result_stride[1];
  }

  // Where an element of the window lies among a channel's weights.
  int64_t weight(int64_t element) const {
    return weights_start + element / (window[1] * window[2]) * weights_stride[0] +
           element / window[2] % window[1] * weights_stride[1] +
           element % window[2] * weights_stride[2];
  }

  // The number that lies at a place of an axis, if there is one.
  std::optional<int64_t> number_at(int axis, int64_t place) const {
    if (place < 0 || place >= given[axis] * spread[axis]) return {};
    if (spread[axis] == 1) return place;  // divisions take longer than all the rest
    if (place % spread[axis] != 0) return {};
    return place / spread[axis];
  }

  // Those that meet a number along an axis, and perhaps some that meet what spreads numbers out.
  Elements met(int axis, int64_t position) const {
    if (spread[axis] > 1) return {0, window[axis]};
    const int64_t first = position * stride[axis] - low[axis];
    const int64_t before = divided_up(std::max<int64_t>(-first, 0), dilation[axis]);
    const int64_t until = divided_up(std::max<int64_t>(given[axis] - first, 0), dilation[axis]);
    const int64_t end = std::min(until, window[axis]);
    return {std::min(before, end), end};
  }

  // Calls body(line, i, j) with the lines of what is given that windows meet which are on a row of
  // positions, and which line of the window meets each.
  template <typename Body>
  void each_line(int64_t row, const Body& body) const {
    const int64_t image = row / rows(), within = row % rows();
    const int64_t outer = within / result[1] * stride[0] - low[0];
    const int64_t middle = within % result[1] * stride[1] - low[1];
    for (int64_t i = 0; i < window[0]; ++i) {
      const auto slice = number_at(0, outer + i * dilation[0]);
      for (int64_t j = 0; slice && j < window[1]; ++j) {
        const auto line = number_at(1, middle + j * dilation[1]);
        if (line) body(Line{image, *slice, *line}, i, j);
      }
    }
  }

  // Places that windows at so many positions meet along an axis.
  int64_t length(int axis, int64_t positions) const {
    return (positions - 1) * stride[axis] + reach(axis);
  }

  // What there is at so many places of a row, from that on where the window at a position begins.
  Pixels pixels(int64_t position, int64_t places) const {
    const int64_t from = position * stride[2] - low[2];
    const int64_t begin = divided_up(std::max<int64_t>(from, 0), spread[2]);
    const int64_t end = divided_up(std::max<int64_t>(from + places, 0), spread[2]);
    const int64_t count = std::max<int64_t>(std::min(end, given[2]) - begin, 0);
    return {begin, count, begin * spread[2] - from};
  }

  // Where a line begins.
  int64_t given_line(const Line& line) const {
    return line.image * given_image + line.slice * given_stride[0] + line.line * given_stride[1];
  }

  int64_t batch;
  int64_t given[3], spread[3];  // numbers, and how far from each other they lie
  int64_t result[3], window[3], stride[3], dilation[3], low[3];
  int64_t given_image, given_stride[3];
  int64_t result_image, result_stride[3];
  int64_t weights_start, weights_stride[3];
};

}  // namespace cnn_jax
