#include "gradient_cut.h"

#include <algorithm>

namespace cnn_jax {
namespace {

// A part of fewer positions doesn't repay that its sums are added to the others'.
constexpr int64_t kWorthAPart = 1024;
// How many pieces of work there are at least, if they can be had, and at most parts.
constexpr int64_t kPieces = 8;
constexpr int64_t kFewestRows = 14;               // of a block, one tile
constexpr int64_t kKept = 128 << 10;              // numbers that a core's cache keeps
constexpr int64_t kMostSums = int64_t{16} << 20;  // numbers, of all parts

}  // namespace

Sizes::Sizes(const std::vector<int64_t>& sizes, int64_t missing) {
  std::fill_n(of, 3, missing);
  std::copy(sizes.begin(), sizes.end(), of + 3 - sizes.size());
}

GradientCut::GradientCut(const Configuration& c, int64_t positions_together)
    : input(c.input, 1),
      output(c.output, 1),
      window(c.window, 1),
      stride(c.stride, 1),
      dilation(c.dilation, 1),
      low(c.padding_low, 0),
      in(c.in_channels),
      out(c.out_channels),
      picture_size(c.source_size()),
      size(c.weights_size()) {
  const int64_t positions = c.batch * output.product();
  per_row = divided_up(output[2], positions_together);
  length = divided_up(output[2], per_row);
  per_row = divided_up(output[2], length);
  total = c.batch * output[0] * output[1] * per_row;
  together = std::max<int64_t>(1, positions_together / length);
  const int64_t most = std::max<int64_t>(1, kMostSums / size);
  parts = std::clamp<int64_t>(positions / kWorthAPart, 1, std::min({kPieces, most, total}));
  groups = std::clamp<int64_t>(kPieces / parts, 1, window.product());
  const int64_t wanted = std::max(kPieces / (parts * groups), size / groups / kKept);
  blocks = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, in / kFewestRows));
}

Piece GradientCut::piece(int64_t number) const {
  Piece p;
  p.place[2] = number % per_row * length;
  p.end = std::min(output[2], p.place[2] + length);
  const int64_t row = number / per_row;
  p.place[1] = row % output[1];
  p.place[0] = row / output[1] % output[0];
  p.image = row / output[1] / output[0];
  return p;
}

Sizes GradientCut::shifts_of(int64_t element) const {
  Sizes shifts({}, 0);
  for (int axis = 2; axis >= 0; element /= window[axis--]) {
    shifts.of[axis] = element % window[axis] * dilation[axis] - low[axis];
  }
  return shifts;
}

int64_t GradientCut::row_of(const Piece& piece, const Sizes& shifts) const {
  int64_t row = piece.image;
  bool inside = true;
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t at = piece.place[axis] * stride[axis] + shifts[axis];
    inside &= at >= 0 && at < input[axis];
    row = row * input[axis] + at;
  }
  return inside ? row : -1;
}

int64_t GradientCut::position_of(int64_t number) const {
  return number / per_row * output[2] + number % per_row * length;
}

int64_t GradientCut::picture_before(int64_t number) const {
  if (number == total) return picture_size;
  const Piece p = piece(number);
  int64_t at = p.image;
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t reach = (window[axis] - 1) * dilation[axis] - low[axis];
    const int64_t place = p.place[axis] * stride[axis] + reach;
    at = at * input[axis] + std::clamp<int64_t>(place, 0, input[axis] - 1);
  }
  return at * in;
}

GradientShare share_of(const GradientCut& cut, int64_t part, int64_t group, int64_t block) {
  const int64_t elements = cut.window.product();
  const int64_t channel = block * cut.in / cut.blocks;
  return {part * cut.total / cut.parts,
          (part + 1) * cut.total / cut.parts,
          group * elements / cut.groups,
          (group + 1) * elements / cut.groups,
          channel,
          (block + 1) * cut.in / cut.blocks - channel};
}

}  // namespace cnn_jax
