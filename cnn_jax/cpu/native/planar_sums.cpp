#include "planar_sums.h"

#include <algorithm>
#include <vector>

#include "numbers.h"
#include "planar_loops.h"
#include "planar_rows.h"
#include "primitives.h"
#include "rows_cut.h"
#include "sliding.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kInCache = 8 << 10;   // numbers of the rows that are taken together
constexpr int64_t kMostKept = 1 << 18;  // and of those that a single one meets
constexpr int64_t kSlice = 1 << 8;      // sums that are added up together

class PlanarGradient {
 public:
  PlanarGradient(const Configuration& configuration, const PlanarLoops& loops)
      : c_(configuration),
        loops_(loops),
        s_(configuration),
        alone_(s_.window[0] * s_.window[1] == 1),
        cut_(RowsCut::of_sums(s_, sums())),
        gradient_plane_(divided_up(cut_.positions, kLanes) * kLanes) {}

  const RowsCut& cut() const { return cut_; }
  int64_t sums() const { return s_.elements() * c_.in_channels * c_.out_channels; }

  // Numbers of the rows that so many segments meet.
  double kept(int64_t segments) const {
    return static_cast<double>(rows_of(nullptr).row()) * static_cast<double>(s_.window[0]) *
           static_cast<double>(lines(segments));
  }

  // The sums of one piece: [row of the window, input, element, output], first in vectors that are then
  // added up.
  void sum(int64_t piece, const void* picture, const void* gradient, float* to) const {
    std::fill_n(to, sums() * kLanes, 0.0f);
    const PlanarRows rows = rows_of(picture);
    const int64_t end = cut_.begin(piece + 1);
    const int64_t most = segments_together(rows);
    Block block(*this, most, rows.row());
    for (int64_t segment = cut_.begin(piece); segment < end;) {
      const int64_t next = std::min({segment + most, end, next_slice(segment)});
      read(segment, next, rows, gradient, block);
      add(block, rows, to);
      segment = next;
    }
    for (int64_t number = 0; number < sums(); ++number) {
      float* const vector = to + number * kLanes;
      for (int64_t half = kLanes / 2; half > 0; half /= 2) {
        for (int64_t i = 0; i < half; ++i) vector[i] += vector[half + i];
      }
    }
  }

  void unpack(const float* sums_of_pieces, int64_t begin, int64_t end, void* weights) const {
    const int64_t outputs = c_.out_channels, elements = s_.window[2];
    for (int64_t number = begin; number < end; ++number) {
      const int64_t output = number % outputs, element = number / outputs % elements;
      const int64_t row = number / (outputs * elements);
      float sum = 0;
      for (int64_t piece = 0; piece < cut_.pieces; ++piece) {
        sum += sums_of_pieces[(piece * sums() + number) * kLanes];
      }
      const int64_t at = s_.weight(row / c_.in_channels * elements + element) +
                         output * c_.weights_strides[1] +
                         row % c_.in_channels * c_.weights_strides[2];
      put_number(sum, weights, at, c_.type);
    }
  }

 private:
  // Some segments that are added up together: what they meet, and the gradient there.
  struct Block {
    Block(const PlanarGradient& of, int64_t segments, int64_t row)
        : lines(of.lines(segments)),
          pictures(static_cast<size_t>(of.s_.window[0] * lines * row) * sizeof(float)),
          gradients(static_cast<size_t>(segments * of.gradient_row()) * sizeof(float)),
          there(static_cast<size_t>(of.s_.window[0] * lines)),
          met(static_cast<size_t>(of.s_.window[0] * of.s_.window[1])) {}

    const int64_t lines;
    const Workspace pictures, gradients;
    std::vector<char> there;                  // whether a line was copied
    std::vector<std::vector<PlanarRow>> met;  // by each row of the window
  };

  PlanarRows rows_of(const void* picture) const {
    return {s_, loops_, c_.type, picture, c_.in_channels, cut_.positions};
  }

  int64_t gradient_row() const { return c_.out_channels * gradient_plane_; }

  // Those that some segments meet with each row of the window along the outer axis. Segments of one
  // line are apart.
  int64_t lines(int64_t segments) const {
    return alone_ ? segments : (segments - 1) * s_.stride[1] + s_.reach(1);
  }

  int64_t segments_together(const PlanarRows& rows) const {
    const int64_t each = (alone_ ? 1 : s_.window[0] * s_.stride[1]) * rows.row() + gradient_row();
    return std::clamp<int64_t>(kInCache / each, 1, alone_ ? kInCache : s_.result[1]);
  }

  // The first segment whose windows lie elsewhere along the outer axis.
  int64_t next_slice(int64_t segment) const {
    if (alone_) return segment + kInCache;
    return (segment / s_.result[1] + 1) * s_.result[1];
  }

  void read(int64_t begin, int64_t end, const PlanarRows& rows, const void* gradient,
            Block& block) const {
    std::fill(block.there.begin(), block.there.end(), false);
    for (auto& met : block.met) met.clear();
    const int64_t first_line = begin % s_.result[1] * s_.stride[1] - s_.low[1];
    for (int64_t segment = begin; segment < end; ++segment) {
      const int64_t row = cut_.row(segment), first = cut_.first(segment);
      const int64_t positions = cut_.positions_of(segment);
      const int64_t at = s_.result_row(row) + first * s_.result_stride[2];
      float* const given =
          static_cast<float*>(block.gradients.data()) + (segment - begin) * gradient_row();
      split(loops_, {static_cast<const char*>(gradient) + at * bytes(c_.type), c_.type, positions,
                     c_.out_channels, given, gradient_plane_}, s_.result_stride[2]);
      s_.each_line(row, [&](const Line& line, int64_t i, int64_t j) {
        const int64_t number = alone_ ? segment - begin : line.line - first_line;
        const int64_t place = i * block.lines + number;
        float* const pixels = static_cast<float*>(block.pictures.data()) + place * rows.row();
        if (!block.there[place]) rows.copy(line, first, pixels);
        block.there[place] = true;
        block.met[i * s_.window[1] + j].emplace_back(pixels, given, positions);
      });
    }
  }

  void add(const Block& block, const PlanarRows& rows, float* to) const {
    const int64_t elements = s_.window[2], outputs = c_.out_channels;
    std::vector<int64_t> places;
    for (int64_t i = 0; i < elements; ++i) places.push_back(rows.place(i));
    PlanarSums sums = {};
    sums.plane = gradient_plane_;
    for (const auto& met : block.met) {
      sums.rows = met.data();
      sums.count = static_cast<int64_t>(met.size());
      for (int64_t input = 0; input < c_.in_channels; ++input, to += elements * outputs * kLanes) {
        sums.offset = input * rows.plane();
        const int64_t turns = divided_up(elements, kMostElementsOfSums);
        for (int64_t turn = 0; turn < turns && !met.empty(); ++turn) {
          const int64_t begin = turn * elements / turns, end = (turn + 1) * elements / turns;
          sums.places = places.data() + begin;
          sums.to = to + begin * outputs * kLanes;
          loops_.sum(static_cast<int>(outputs), static_cast<int>(end - begin))(sums);
        }
      }
    }
  }

  const Configuration& c_;
  const PlanarLoops& loops_;
  const Sliding s_;
  const bool alone_;  // windows meet one row alone
  const RowsCut cut_;
  const int64_t gradient_plane_;
};

}  // namespace

void refuse_planar_sums(const Configuration& c) {
  if (PlanarGradient(c, *planar_loops()).kept(1) > kMostKept) {
    refuse("its rows don't fit into a core's cache");
  }
}

void run_planar_sums(const Configuration& c, const Arrays& arrays, const ForEach& for_each) {
  const PlanarGradient gradient(c, *planar_loops());
  const int64_t pieces = gradient.cut().pieces, size = gradient.sums() * kLanes;
  const Workspace space(static_cast<size_t>(pieces * size) * sizeof(float));
  float* const sums = static_cast<float*>(space.data());
  for_each(pieces, [&](int64_t piece) {
    gradient.sum(piece, arrays.source, arrays.destination, sums + piece * size);
  });
  for_each(divided_up(gradient.sums(), kSlice), [&](int64_t slice) {
    const int64_t begin = slice * kSlice;
    gradient.unpack(sums, begin, std::min(gradient.sums(), begin + kSlice), arrays.weights);
  });
}

}  // namespace cnn_jax
