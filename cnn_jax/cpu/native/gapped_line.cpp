#include "gapped_line.h"

#include <algorithm>

namespace cnn_jax {
namespace {

// Where an element of the window lies from a position along an axis: so many strides, and a rest.
struct Shift {
  int64_t strides, rest;
};

Shift shift_of(int64_t place, int64_t stride) {
  const int64_t strides = place >= 0 ? place / stride : (place + 1) / stride - 1;
  return {strides, place - strides * stride};
}

}  // namespace

GappedLine::GappedLine(const Configuration& c)
    : gradient{{c.output, 1}, {{}, 1}, {{}, 0}, {c.output, 1}}, batch_(c.batch), apart_({}, 1) {
  const Sizes input(c.input, 1), window(c.window, 1), stride(c.stride, 1);
  const Sizes dilation(c.dilation, 1), low(c.padding_low, 0);
  const auto shift = [&](int axis, int64_t element) {
    return shift_of(element * dilation[axis] - low[axis], stride[axis]);
  };
  for (int axis = 0; axis < 3; ++axis) {
    // Past a row's end there are as many places as an element reaches, before its beginning, too.
    const int64_t before = std::max<int64_t>(0, -shift(axis, 0).strides);
    const int64_t after = std::max<int64_t>(0, shift(axis, window[axis] - 1).strides);
    const int64_t met = gradient.count[axis] + after;
    const int64_t there = std::min(met, divided_up(input[axis], stride[axis]));
    apart_.of[axis] = std::max(met, there + before);
  }
  for (int64_t element = 0; element < window.product(); ++element) {
    Grid picture = {{{}, 1}, stride, {{}, 0}, input};
    int64_t distance = 0, rest = element;
    Sizes places({}, 0);
    for (int axis = 2; axis >= 0; rest /= window[axis--]) places.of[axis] = rest % window[axis];
    for (int axis = 0; axis < 3; ++axis) {
      const Shift from = shift(axis, places[axis]);
      distance = distance * apart_[axis] + from.strides;
      const int64_t after = std::max<int64_t>(0, shift(axis, window[axis] - 1).strides);
      picture.first.of[axis] = from.rest;
      picture.count.of[axis] =
          std::clamp<int64_t>(divided_up(input[axis] - from.rest, stride[axis]), 0,
                              gradient.count[axis] + after);
    }
    const auto same = [&](const Residue& residue) {
      return std::equal(residue.picture.first.of, residue.picture.first.of + 3, picture.first.of);
    };
    auto residue = std::find_if(residues.begin(), residues.end(), same);
    if (residue == residues.end()) {
      residue = residues.insert(residue, {picture, {}, distance, distance});
    }
    residue->elements.push_back({element, distance});
    residue->least = std::min(residue->least, distance);
    residue->most = std::max(residue->most, distance);
  }
}

int64_t GappedLine::length() const {
  int64_t last = batch_ - 1;
  for (int axis = 0; axis < 3; ++axis) last = last * apart_[axis] + gradient.count[axis] - 1;
  return last + 1;
}

int64_t GappedLine::reach() const {
  int64_t most = 0;
  for (const Residue& residue : residues) most = std::max(most, residue.most - residue.least);
  return most;
}

void GappedLine::find_rows(const Grid& grid, int64_t begin, int64_t end, const Bfloat16* numbers,
                           int64_t length, const Bfloat16* nothing, const Bfloat16** rows) const {
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
    const Bfloat16* number =
        numbers + (row * grid.size[2] + grid.first[2] + from * grid.step[2]) * length;
    for (int64_t place = from; place < filled; ++place, number += grid.step[2] * length) {
      *rows++ = number;
    }
    rows = std::fill_n(rows, past - filled, nothing);
  }
}

}  // namespace cnn_jax
