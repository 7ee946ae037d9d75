#include "tile_rows.h"

#include <algorithm>
#include <utility>

namespace cnn_jax {
namespace {

struct Axis {
  int64_t result, window, stride, dilation, low;
};

Phase forward(const Axis& a) {
  Phase phase = {0, 1, a.result, a.stride, {}, {}};
  for (int64_t element = 0; element < a.window; ++element) {
    phase.elements.push_back(element);
    phase.shifts.push_back(element * a.dilation - a.low);
  }
  return phase;
}

// A position meets the outputs whose windows have an element there.
Phase backward(const Axis& a, int64_t first) {
  Phase phase = {first, a.stride, divided_up(a.result - first, a.stride), 1, {}, {}};
  for (int64_t element = 0; element < a.window; ++element) {
    const int64_t start = first + a.low - element * a.dilation;
    if (start % a.stride != 0) continue;
    phase.elements.push_back(element);
    phase.shifts.push_back(start / a.stride);
  }
  return phase;
}

std::vector<Phase> phases_of(Kind kind, const Axis& axis) {
  if (kind == Kind::kForward) return {forward(axis)};
  std::vector<Phase> phases;
  for (int64_t first = 0; first < std::min(axis.stride, axis.result); ++first) {
    phases.push_back(backward(axis, first));
  }
  return phases;
}

}  // namespace

Correlation::Correlation(const Configuration& c) : groups(c.groups), batch(c.batch) {
  const bool forward = c.kind == Kind::kForward;
  length = (forward ? c.in_channels : c.out_channels) / groups;
  columns = (forward ? c.out_channels : c.in_channels) / groups;
  const auto& from = forward ? c.source_strides : c.destination_strides;
  const auto& to = forward ? c.destination_strides : c.source_strides;
  given_image = from[0];
  result_image = to[0];
  const size_t missing = 3 - c.window.size();
  for (size_t axis = 0; axis < 3; ++axis) {
    if (axis < missing) {
      given[axis] = made[axis] = window[axis] = 1;
      given_stride[axis] = result_stride[axis] = 0;
      phases[axis] = phases_of(Kind::kForward, {1, 1, 1, 1, 0});
      continue;
    }
    const size_t i = axis - missing;
    given[axis] = forward ? c.input[i] : c.output[i];
    made[axis] = forward ? c.output[i] : c.input[i];
    window[axis] = c.window[i];
    given_stride[axis] = from[i + 2];
    result_stride[axis] = to[i + 2];
    phases[axis] = phases_of(
        c.kind, {made[axis], c.window[i], c.stride[i], c.dilation[i], c.padding_low[i]});
  }
}

std::vector<Part> parts_of(const Correlation& c) {
  std::vector<Part> parts;
  for (const Phase& first : c.phases[0]) {
    for (const Phase& second : c.phases[1]) {
      for (const Phase& third : c.phases[2]) {
        Part part = {{&first, &second, &third},
                     c.batch * first.count * second.count * third.count,
                     {}};
        for (int64_t i : first.elements) {
          for (int64_t j : second.elements) {
            for (int64_t k : third.elements) {
              part.elements.push_back((i * c.window[1] + j) * c.window[2] + k);
            }
          }
        }
        parts.push_back(std::move(part));
      }
    }
  }
  return parts;
}

TileRows::TileRows(const Correlation& correlation, const RowProductLoops& loops,
                   const float* nothing, int64_t most_elements)
    : correlation_(correlation),
      loops_(loops),
      nothing_(nothing),
      rows_(static_cast<size_t>((most_elements + 1) * kTileRows)),
      elements_(static_cast<size_t>(most_elements)) {}

void TileRows::move_to(const Part& part, int64_t group, int64_t begin, int64_t end,
                       const float* given, float* result) {
  if (part_ != &part) take(part);
  size_ = static_cast<int>(end - begin);
  find_positions(group, begin, given, result);
  loops_.offsets(axes_, outer_.data(), last_.data());
}

void TileRows::take(const Part& part) {
  part_ = &part;
  for (int axis = 0; axis < 3; ++axis) {
    const std::vector<int64_t>& shifts = part.axes[axis]->shifts;
    axes_[axis].shifts = shifts.data();
    axes_[axis].elements = static_cast<int64_t>(shifts.size());
    axes_[axis].size = correlation_.given[axis];
    axes_[axis].stride = correlation_.given_stride[axis];
  }
  outer_.resize(static_cast<size_t>(axes_[0].elements * axes_[1].elements));
  last_.resize(static_cast<size_t>(axes_[2].elements));
}

void TileRows::find_positions(int64_t group, int64_t begin, const float* given, float* result) {
  const Correlation& c = correlation_;
  const Phase* const* axes = part_->axes;
  const int64_t rows = axes[0]->count * axes[1]->count, length = axes[2]->count;
  int64_t row = begin / length, last = begin % length;
  for (int i = 0; i < size_; last = 0, ++row) {
    const int64_t image = row / rows, within = row % rows;
    const int64_t first = within / axes[1]->count, second = within % axes[1]->count;
    const float* const from = given + image * c.given_image + group * c.length;
    float* const to = result + image * c.result_image + group * c.columns +
                      (axes[0]->first + first * axes[0]->apart) * c.result_stride[0] +
                      (axes[1]->first + second * axes[1]->apart) * c.result_stride[1] +
                      axes[2]->first * c.result_stride[2];
    for (; i < size_ && last < length; ++i, ++last) {
      images_[i] = from;
      results_[i] = to + last * axes[2]->apart * c.result_stride[2];
      axes_[0].places.of[i] = first * axes[0]->step;
      axes_[1].places.of[i] = second * axes[1]->step;
      axes_[2].places.of[i] = last * axes[2]->step;
    }
  }
}

void TileRows::find(int64_t first, int64_t last) {
  const auto lasts = static_cast<int64_t>(last_.size());
  found_ = loops_.find({images_, outer_.data(), last_.data(), lasts, nothing_, size_}, first, last,
                       rows_.data(), elements_.data());
  for (int64_t i = 0; i < found_; ++i) elements_[i] = part_->elements[elements_[i]];
}

}  // namespace cnn_jax
