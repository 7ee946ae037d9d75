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

GappedLine::GappedLine(int64_t batch, const std::array<LineAxis, 3>& axes)
    : count({axes[0].count, axes[1].count, axes[2].count}, 1), batch_(batch), apart_({}, 1) {
  const auto shift = [&](int axis, int64_t element) {
    return shift_of(axes[axis].shifts[element], axes[axis].step);
  };
  // Past a row's end there are as many places as an element reaches, before its beginning, too.
  Sizes after({}, 0);
  for (int axis = 0; axis < 3; ++axis) {
    int64_t before = 0;
    for (int64_t place : axes[axis].shifts) {
      const int64_t strides = shift_of(place, axes[axis].step).strides;
      before = std::max(before, -strides);
      after.of[axis] = std::max(after[axis], strides);
    }
    const int64_t met = count[axis] + after[axis];
    const int64_t there = std::min(met, divided_up(axes[axis].size, axes[axis].step));
    apart_.of[axis] = std::max(met, there + before);
  }
  int64_t elements = 1;
  for (const LineAxis& axis : axes) elements *= static_cast<int64_t>(axis.shifts.size());
  for (int64_t element = 0; element < elements; ++element) {
    Grid picture = {{{}, 1}, {{}, 1}, {{}, 0}, {{}, 1}};
    int64_t distance = 0, rest = element;
    Sizes places({}, 0);
    for (int axis = 2; axis >= 0; --axis) {
      const auto window = static_cast<int64_t>(axes[axis].shifts.size());
      places.of[axis] = rest % window;
      rest /= window;
    }
    for (int axis = 0; axis < 3; ++axis) {
      const Shift from = shift(axis, places[axis]);
      distance = distance * apart_[axis] + from.strides;
      picture.step.of[axis] = axes[axis].step;
      picture.size.of[axis] = axes[axis].size;
      picture.first.of[axis] = from.rest;
      picture.count.of[axis] =
          std::clamp<int64_t>(divided_up(axes[axis].size - from.rest, axes[axis].step), 0,
                              count[axis] + after[axis]);
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
  for (int axis = 0; axis < 3; ++axis) last = last * apart_[axis] + count[axis] - 1;
  return last + 1;
}

bool GappedLine::is_picture() const {
  if (residues.size() != 1 || residues.front().elements.size() != 1) return false;
  const Grid& picture = residues.front().picture;
  bool same = residues.front().least == 0;
  for (int axis = 0; axis < 3; ++axis) {
    same &= apart_[axis] == count[axis] && picture.size[axis] == count[axis];
    same &= picture.step[axis] == 1 || count[axis] == 1;
  }
  return same;
}

int64_t GappedLine::reach() const {
  int64_t most = 0;
  for (const Residue& residue : residues) most = std::max(most, residue.most - residue.least);
  return most;
}

}  // namespace cnn_jax
