#include "planar.h"

#include <algorithm>
#include <vector>

#include "kept_rows.h"
#include "numbers.h"
#include "packed_kernel.h"
#include "planar_loops.h"
#include "planar_rows.h"
#include "planar_sums.h"
#include "primitives.h"
#include "rows_cut.h"
#include "shared_out.h"
#include "sliding.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr int64_t kLanes = 16;
constexpr double kMostKept = 1 << 18;    // numbers of rows
constexpr int64_t kMostWeights = 1 << 16;
constexpr int64_t kMostInputs = 64;
constexpr int64_t kTogether = 24;        // sums in registers

class Planar {
 public:
  Planar(const Configuration& configuration, const PlanarLoops& loops)
      : c_(configuration),
        loops_(loops),
        s_(configuration),
        forth_(c_.kind != Kind::kInputGradient),
        inputs_(forth_ ? c_.in_channels : c_.out_channels),
        outputs_(forth_ ? c_.out_channels : c_.in_channels),
        cut_(RowsCut::of_result(s_, outputs_, c_.after != After::kNothing)) {}

  const RowsCut& cut() const { return cut_; }
  double kept() const { return KeptRows<PlanarRows>::size(s_, rows_of(nullptr)); }

  // [row of the window, input, element, output]
  void pack(const void* weights, float* packed) const {
    const KernelMatrices kernel = kernel_matrices(c_);
    for (int64_t row = 0; row < s_.window[0] * s_.window[1]; ++row) {
      for (int64_t input = 0; input < inputs_; ++input) {
        for (int64_t element = 0; element < s_.window[2]; ++element) {
          const int64_t at =
              s_.weight(row * s_.window[2] + element) + input * kernel.length_stride;
          for (int64_t output = 0; output < outputs_; ++output) {
            *packed++ = number_at(weights, at + output * kernel.column_stride, c_.type);
          }
        }
      }
    }
  }

  void run(int64_t piece, const void* given, const float* packed, void* result) const {
    const PlanarRows planar_rows = rows_of(given);
    KeptRows<PlanarRows> rows(s_, planar_rows);
    std::vector<int64_t> places;
    for (int64_t i = 0; i < s_.window[2]; ++i) places.push_back(planar_rows.place(i));
    PlanarTile tile = {};
    tile.places = places.data();
    tile.elements = s_.window[2];
    std::vector<const float*> planes, weights;
    const int64_t most = std::min<int64_t>(kTogether / outputs_, kMostVectorsOfPositions);
    for (int64_t segment = cut_.begin(piece); segment < cut_.begin(piece + 1); ++segment) {
      planes.clear();
      weights.clear();
      for (const WindowRow& row : rows.met(cut_.row(segment), cut_.first(segment))) {
        for (int64_t input = 0; input < inputs_; ++input) {
          planes.push_back(row.pixels + input * planar_rows.plane());
          weights.push_back(packed + (row.number * inputs_ + input) * s_.window[2] * outputs_);
        }
      }
      tile.rows = planes.data();
      tile.weights = weights.data();
      tile.count = static_cast<int64_t>(planes.size());
      const int64_t at =
          s_.result_row(cut_.row(segment)) + cut_.first(segment) * s_.result_stride[2];
      char* const to = static_cast<char*>(result) + at * bytes(c_.type);
      const int64_t positions = cut_.positions_of(segment);
      const int64_t vectors = divided_up(positions, kLanes), tiles = divided_up(vectors, most);
      for (int64_t i = 0, begin = 0; i < tiles; ++i) {
        const int64_t end = (i + 1) * vectors / tiles, first = begin * kLanes;
        tile.to = to + first * s_.result_stride[2] * bytes(c_.type);
        tile.positions = std::min(positions, end * kLanes) - first;
        loops_.product(c_.type, static_cast<int>(outputs_), static_cast<int>(end - begin))(tile);
        for (const float*& plane : planes) plane += tile.positions;
        begin = end;
      }
    }
  }

 private:
  PlanarRows rows_of(const void* given) const {
    return {s_, loops_, c_.type, given, inputs_, cut_.positions};
  }

  const Configuration& c_;
  const PlanarLoops& loops_;
  const Sliding s_;
  const bool forth_;
  const int64_t inputs_, outputs_;  // of what is computed
  const RowsCut cut_;
};

}  // namespace

void refuse_planar(const Configuration& c) {
  if (planar_loops() == nullptr) refuse("it is slower on this processor");
  if (c.groups != 1) refuse("it has groups");
  if ((c.in_channels > 1 && c.source_strides[1] != 1) ||
      (c.out_channels > 1 && c.destination_strides[1] != 1)) {
    refuse("the channels are not the last axis");
  }
  const bool forth = c.kind != Kind::kInputGradient;
  const int64_t inputs = forth ? c.in_channels : c.out_channels;
  const int64_t outputs = forth ? c.out_channels : c.in_channels;
  if (outputs > kMostPlanes || inputs > kMostInputs || c.weights_size() > kMostWeights) {
    refuse("it has many channels");
  }
  if (c.kind == Kind::kKernelGradient) return refuse_planar_sums(c);
  const Sliding s(c);
  if (s.result[2] > 1 && s.result_stride[2] != outputs) refuse("pixels are not next to each other");
  if (Planar(c, *planar_loops()).kept() > kMostKept) {
    refuse("its rows don't fit into a core's cache");
  }
}

int64_t planar_pieces(const Configuration& c) { return Planar(c, *planar_loops()).cut().pieces; }

void run_planar(const Configuration& c, const Arrays& arrays, const ForEach& for_each,
                const Finishing& finish) {
  refuse_planar(c);
  const ForEach each = shared_out(c.vector_work(), for_each);
  if (c.kind == Kind::kKernelGradient) return run_planar_sums(c, arrays, each);
  const Planar planar(c, *planar_loops());
  const Workspace space(static_cast<size_t>(c.weights_size()) * sizeof(float));
  float* const packed = static_cast<float*>(space.data());
  planar.pack(arrays.weights, packed);
  const bool forward = c.kind == Kind::kForward;
  const void* const given = forward ? arrays.source : arrays.destination;
  void* const result = forward ? arrays.destination : arrays.source;
  planar.cut().each_piece(each, finish,
                         [&](int64_t piece) { planar.run(piece, given, packed, result); });
}

}  // namespace cnn_jax
