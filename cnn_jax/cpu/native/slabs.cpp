#include "slabs.h"

#include <algorithm>

namespace cnn_jax {
namespace {

constexpr int64_t kFewest = 16;         // if they can be had
constexpr int64_t kLargest = 64 << 10;  // numbers, that are in a core's nearer caches
constexpr int64_t kInCache = 64 << 10;  // results of a slab, likewise

}  // namespace

Slabs::Slabs(const Sliding& s, const PaddedRows& rows, int64_t results, bool followed)
    : sliding_(s), rows_(rows), axis_(s.result[0] > 1 ? 0 : 1) {
  const int64_t all = s.rows() * s.result[2] * results;
  parts_ = divided_up(kFewest, s.batch);
  if (followed) parts_ = std::max(parts_, divided_up(all, kInCache));
  parts_ = std::min(parts_, s.result[axis_]);
  while (size() > kLargest && parts_ < s.result[axis_]) {
    parts_ = std::min(2 * parts_, s.result[axis_]);
  }
}

int64_t Slabs::size() const {
  Part part = part_of(0);
  part.count[axis_] = divided_up(sliding_.result[axis_], parts_);
  return size_of(part);
}

int64_t Slabs::first_row(int64_t slab) const {
  const int64_t each = axis_ == 0 ? sliding_.result[1] : 1;
  return slab / parts_ * sliding_.rows() + begin(slab % parts_) * each;
}

Slabs::Part Slabs::part_of(int64_t slab) const {
  Part part = {slab / parts_, {0, 0}, {sliding_.result[0], sliding_.result[1]}};
  part.first[axis_] = begin(slab % parts_);
  part.count[axis_] = begin(slab % parts_ + 1) - part.first[axis_];
  return part;
}

int64_t Slabs::size_of(const Part& part) const {
  return sliding_.length(0, part.count[0]) * sliding_.length(1, part.count[1]) * rows_.row();
}

void Slabs::copy(const Part& part, float* space) const {
  const Sliding& s = sliding_;
  const int64_t slices = s.length(0, part.count[0]), lines = s.length(1, part.count[1]);
  for (int64_t i = 0; i < slices; ++i) {
    const auto slice = s.number_at(0, part.first[0] * s.stride[0] - s.low[0] + i);
    for (int64_t j = 0; j < lines; ++j, space += rows_.row()) {
      const auto line = s.number_at(1, part.first[1] * s.stride[1] - s.low[1] + j);
      if (slice && line) {
        rows_.copy({part.image, *slice, *line}, 0, space);
      } else {
        std::fill_n(space, rows_.row(), 0.0f);
      }
    }
  }
}

void Slabs::find(const Elements& slices, const Elements& lines, const float* space, int64_t slice,
                 std::vector<WindowRow>& met) const {
  const Sliding& s = sliding_;
  met.clear();
  for (int64_t i = slices.begin; i < slices.end; ++i) {
    for (int64_t j = lines.begin; j < lines.end; ++j) {
      const int64_t at = i * s.dilation[0] * slice + j * s.dilation[1] * rows_.row();
      met.emplace_back(space + at, i * s.window[1] + j);
    }
  }
}

}  // namespace cnn_jax
