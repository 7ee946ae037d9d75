#include "depthwise.h"

#include <algorithm>
#include <vector>

#include "kept_rows.h"
#include "numbers.h"
#include "padded_rows.h"
#include "past_caches.h"
#include "primitives.h"
#include "rows_cut.h"
#include "shared_out.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr double kMostKept = 1 << 20;  // numbers of rows
constexpr int64_t kSlice = 1 << 12;    // sums that are added up together

class Depthwise {
 public:
  Depthwise(const Configuration& configuration, const SlidingLoops& loops)
      : c_(configuration),
        loops_(loops),
        s_(configuration),
        width_(c_.groups > kLanes ? kLanes * kMostVectors : kLanes),
        blocks_(divided_up(c_.groups, width_)),
        first_whole_(divided_up(s_.low[2], s_.stride[2])),
        past_whole_(divided_up(s_.given[2] + s_.low[2] - s_.reach(2) + 1, s_.stride[2])),
        cut_(c_.kind == Kind::kKernelGradient
                 ? RowsCut::of_sums(s_, size())
                 : RowsCut::of_result(s_, c_.groups, c_.after != After::kNothing)) {}

  const RowsCut& cut() const { return cut_; }

  // Numbers of the rows that are kept.
  double kept() const {
    if (in_place() && c_.kind != Kind::kKernelGradient) return 0;
    return KeptRows<PaddedRows>::size(s_, padded(nullptr));
  }

  // Of the weights, or of the sums that a kernel gradient is: [block, element, width].
  int64_t size() const { return blocks_ * s_.elements() * width_; }

  void pack(const void* weights, float* packed) const {
    for (int64_t block = 0; block < blocks_; ++block) {
      const int64_t count = channels_of(block), width = vectors_of(block) * kLanes;
      float* to = at_block(packed, block);
      for (int64_t element = 0; element < s_.elements(); ++element, to += width) {
        for (int64_t i = 0; i < count; ++i) {
          to[i] = number_at(weights, weight(element, block, i), c_.type);
        }
        std::fill(to + count, to + width, 0.0f);
      }
    }
  }

  void unpack(const float* sums, int64_t parts, int64_t begin, int64_t end, void* weights) const {
    const int64_t elements = s_.elements();
    for (int64_t number = begin; number < end; ++number) {
      const int64_t block = number / (elements * width_), i = number % width_;
      if (i >= channels_of(block)) continue;
      float sum = 0;
      for (int64_t part = 0; part < parts; ++part) sum += sums[part * size() + number];
      const int64_t element = number / width_ % elements;
      put_number(sum, weights, weight(element, block, i), c_.type);
    }
  }

  void correlate(int64_t piece, const void* given, const float* packed, void* result) const {
    DepthwiseTile tile = {};
    tile.window = s_.window[2];
    tile.to_step = s_.result_stride[2];
    // What follows finds it in the caches.
    tile.past_caches =
        c_.after == After::kNothing && stored_past_caches(s_, c_.groups, c_.type, result);
    auto* const to = static_cast<char*>(result);
    if (in_place()) {
      std::vector<WindowRow> met;
      for (int64_t segment = cut_.begin(piece); segment < cut_.begin(piece + 1); ++segment) {
        correlate_in_place(segment, static_cast<const float*>(given), met, packed, tile, to);
      }
    } else {
      const PaddedRows padded_rows = padded(given);
      KeptRows<PaddedRows> rows(s_, padded_rows);
      for (int64_t segment = cut_.begin(piece); segment < cut_.begin(piece + 1); ++segment) {
        correlate(segment, rows, padded_rows.block(), packed, tile, to);
      }
    }
    if (tile.past_caches) loops_.finish_stores();
  }

  // The sums of one piece.
  void sum(int64_t piece, const void* picture, const void* gradient, float* sums) const {
    std::fill_n(sums, size(), 0.0f);
    const PaddedRows padded_rows = padded(picture);
    KeptRows<PaddedRows> rows(s_, padded_rows);
    const int64_t numbers = cut_.positions * width_;
    const Workspace space(static_cast<size_t>(blocks_ * numbers) * sizeof(float));
    float* const row = static_cast<float*>(space.data());
    for (int64_t segment = cut_.begin(piece); segment < cut_.begin(piece + 1); ++segment) {
      const int64_t positions = cut_.positions_of(segment);
      const int64_t at = place(segment) * bytes(c_.type);
      loops_.widen({static_cast<const char*>(gradient) + at, c_.type, positions,
                    s_.result_stride[2], c_.groups, row, width_, width_, numbers});
      const auto& met = rows.met(cut_.row(segment), cut_.first(segment));
      for (int64_t block = 0; block < blocks_; ++block) {
        sum(met, block, block * padded_rows.block(), row + block * numbers, positions,
            at_block(sums, block));
      }
    }
  }

 private:
  PaddedRows padded(const void* given) const {
    return {s_, loops_, c_.type, given, c_.groups, width_, cut_.positions};
  }

  int64_t channels_of(int64_t block) const { return std::min(width_, c_.groups - block * width_); }

  int vectors_of(int64_t block) const {
    return static_cast<int>(divided_up(channels_of(block), kLanes));
  }

  float* at_block(float* packed, int64_t block) const {
    return packed + block * s_.elements() * width_;
  }

  int64_t weight(int64_t element, int64_t block, int64_t i) const {
    return s_.weight(element) + (block * width_ + i) * c_.weights_strides[0];
  }

  // Where the first position of a segment lies.
  int64_t place(int64_t segment) const {
    return s_.result_row(cut_.row(segment)) + cut_.first(segment) * s_.result_stride[2];
  }

  // Whether rows are taken as they lie in what is given. Not where many windows leave them, since those
  // are taken one by one.
  bool in_place() const {
    return c_.type == Type::kFloat32 && s_.spread[2] == 1 && c_.groups % kLanes == 0 &&
           4 * (past_whole_ - first_whole_) >= 3 * s_.result[2];
  }

  void correlate(int64_t segment, KeptRows<PaddedRows>& rows, int64_t block_step,
                 const float* packed, DepthwiseTile tile, char* result) const {
    const auto& met = rows.met(cut_.row(segment), cut_.first(segment));
    tile.rows = met.data();
    tile.count = static_cast<int64_t>(met.size());
    tile.elements = s_.window[2];
    tile.apart = s_.dilation[2] * width_;
    tile.step = s_.stride[2] * width_;
    correlate(tile, cut_.positions_of(segment), block_step, packed, 0,
              result + place(segment) * bytes(c_.type));
  }

  void correlate_in_place(int64_t segment, const float* given, std::vector<WindowRow>& met,
                          const float* packed, DepthwiseTile tile, char* result) const {
    met.clear();
    s_.each_line(cut_.row(segment), [&](const Line& line, int64_t i, int64_t j) {
      met.emplace_back(given + s_.given_line(line), i * s_.window[1] + j);
    });
    tile.rows = met.data();
    tile.count = static_cast<int64_t>(met.size());
    tile.apart = s_.dilation[2] * s_.given_stride[2];
    tile.step = s_.stride[2] * s_.given_stride[2];
    const int64_t end = cut_.first(segment) + cut_.positions_of(segment);
    for (int64_t first = cut_.first(segment), next; first < end; first = next) {
      // Windows that are wholly on the row go together, those that leave it one by one.
      next = first < first_whole_ ? first + 1 : std::clamp(past_whole_, first + 1, end);
      const int64_t start = first * s_.stride[2] - s_.low[2], dilation = s_.dilation[2];
      const auto elements_before = [&](int64_t pixels) {
        return std::min(divided_up(std::max<int64_t>(pixels, 0), dilation), s_.window[2]);
      };
      const int64_t unmet = elements_before(-start);
      tile.elements = std::max<int64_t>(elements_before(s_.given[2] - start) - unmet, 0);
      tile.offset = (start + unmet * dilation) * s_.given_stride[2];
      const int64_t at = s_.result_row(cut_.row(segment)) + first * tile.to_step;
      correlate(tile, next - first, width_, packed, unmet, result + at * bytes(c_.type));
    }
  }

  // Some positions of a row, with all channels. Blocks of them are so far apart in the rows; the
  // window's first elements meet nothing.
  void correlate(DepthwiseTile tile, int64_t positions, int64_t block_step, const float* packed,
                 int64_t unmet, char* result) const {
    const int64_t tiles = divided_up(positions, kMostTogether), offset = tile.offset;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t begin = i * positions / tiles, end = (i + 1) * positions / tiles;
      for (int64_t block = 0; block < blocks_; ++block) {
        const int vectors = vectors_of(block);
        tile.offset = offset + begin * tile.step + block * block_step;
        tile.weights = packed + block * s_.elements() * width_ + unmet * vectors * kLanes;
        tile.channels = channels_of(block);
        tile.to = result + (begin * tile.to_step + block * width_) * bytes(c_.type);
        loops_.depthwise(c_.type, static_cast<int>(end - begin), vectors, tile.step)(tile);
      }
    }
  }

  // Adds up the products of some rows with a row of the gradient.
  void sum(const std::vector<WindowRow>& met, int64_t block, int64_t offset, const float* gradient,
           int64_t positions, float* sums) const {
    const int64_t each = s_.window[2], count = static_cast<int64_t>(met.size()) * each;
    const int64_t turns = divided_up(count, kMostTogether);
    DepthwiseSums together = {};
    together.step = s_.stride[2] * width_;
    together.gradient = gradient;
    together.gradient_step = width_;
    together.count = positions;
    for (int64_t turn = 0; turn < turns; ++turn) {
      const int64_t begin = turn * count / turns, end = (turn + 1) * count / turns;
      for (int64_t i = begin; i < end; ++i) {
        const WindowRow& row = met[i / each];
        together.met[i - begin] = row.pixels + offset + i % each * s_.dilation[2] * width_;
        together.to[i - begin] = sums + (row.number * each + i % each) * width_;
      }
      loops_.depthwise_sum(static_cast<int>(end - begin), vectors_of(block))(together);
    }
  }

  const Configuration& c_;
  const SlidingLoops& loops_;
  const Sliding s_;
  const int64_t width_, blocks_;  // channels of a block, of which the last may have fewer
  const int64_t first_whole_, past_whole_;  // positions of a row whose windows don't leave it
  const RowsCut cut_;
};

// Of a kernel gradient.
void run_sums(const Depthwise& depthwise, const Arrays& arrays, const ForEach& for_each) {
  const int64_t parts = depthwise.cut().pieces, size = depthwise.size();
  const Workspace space(static_cast<size_t>(parts * size) * sizeof(float));
  float* const sums = static_cast<float*>(space.data());
  for_each(parts, [&](int64_t part) {
    depthwise.sum(part, arrays.source, arrays.destination, sums + part * size);
  });
  for_each(divided_up(size, kSlice), [&](int64_t slice) {
    const int64_t begin = slice * kSlice;
    depthwise.unpack(sums, parts, begin, std::min(size, begin + kSlice), arrays.weights);
  });
}

}  // namespace

void refuse_depthwise(const Configuration& c) {
  if (sliding_loops() == nullptr) refuse("it is slower on this processor");
  if (c.groups != c.in_channels || c.groups != c.out_channels) {
    refuse("it is not a depthwise convolution");
  }
  if (c.groups > 1 && (c.source_strides[1] != 1 || c.destination_strides[1] != 1)) {
    refuse("the channels are not the last axis");
  }
  if (Depthwise(c, *sliding_loops()).kept() > kMostKept) {
    refuse("its rows don't fit into a core's cache");
  }
}

int64_t depthwise_pieces(const Configuration& c) {
  return Depthwise(c, *sliding_loops()).cut().pieces;
}

void run_depthwise(const Configuration& c, const Arrays& arrays, const ForEach& for_each,
                   const Finishing& finish) {
  refuse_depthwise(c);
  const Depthwise depthwise(c, *sliding_loops());
  const ForEach each = shared_out(c.vector_work(), for_each);
  if (c.kind == Kind::kKernelGradient) return run_sums(depthwise, arrays, each);
  const Workspace space(static_cast<size_t>(depthwise.size()) * sizeof(float));
  float* const packed = static_cast<float*>(space.data());
  depthwise.pack(arrays.weights, packed);
  const bool forward = c.kind == Kind::kForward;
  const void* const given = forward ? arrays.source : arrays.destination;
  void* const result = forward ? arrays.destination : arrays.source;
  depthwise.cut().each_piece(each, finish,
                         [&](int64_t piece) { depthwise.correlate(piece, given, packed, result); });
}

}  // namespace cnn_jax
