#include "strided_gradient.h"

#include <algorithm>
#include <vector>

#include "packed_kernel.h"
#include "primitives.h"
#include "sliding.h"
#include "spaced_products.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr int64_t kPieces = 64;
constexpr int64_t kMostChannels = 16, kMostColumns = 128;
constexpr int64_t kMostNumbers = 1 << 18;  // of a row's products, or of the kernel

int64_t divided_down(int64_t number, int64_t step) {
  return number >= 0 ? number / step : -divided_up(-number, step);
}

// The kernel's rows: matrices [given channels, elements of a row and their channels].
KernelMatrices by_rows(const Configuration& c, const Sliding& s) {
  KernelMatrices made = kernel_matrices(c);
  made.groups = s.window[0] * s.window[1];
  made.columns *= s.window[2];
  made.window[0] = made.window[1] = made.window[2] = 1;
  made.group_stride = made.length * made.columns;
  made.length_stride = made.columns;
  made.column_stride = 1;
  return made;
}

class StridedGradient {
 public:
  explicit StridedGradient(const Configuration& configuration)
      : c_(configuration),
        s_(configuration),
        matrices_(by_rows(configuration, s_)),
        kernel_(matrices_, Along::kColumns),
        columns_(divided_up(matrices_.columns, kVector) * kVector),
        first_(std::min<int64_t>(0, divided_down(-s_.low[2], s_.spread[2]))),
        past_(std::max(s_.given[2], divided_down(s_.length(2, s_.result[2]) - 1 - s_.low[2],
                                                 s_.spread[2]) + 1)) {}

  int64_t rows() const { return s_.batch * s_.rows(); }
  int64_t pieces() const { return std::min(rows(), kPieces); }
  int64_t pixel(int64_t piece) const { return piece * rows() / pieces() * s_.result[2]; }

  // Of the products of a given row, some of which are nothing.
  int64_t numbers() const { return (past_ - first_) * columns_; }

  // Of the kernel as it is packed, and before.
  int64_t size() const { return kernel_.size() + c_.weights_size(); }

  int64_t kernel_rows() const { return matrices_.groups; }

  // Where the packed kernel stands.
  float* packed(float* space) const { return space + c_.weights_size(); }

  // Packs a row of the kernel.
  void pack(const float* weights, int64_t row, float* space) const {
    const KernelMatrices as_given = kernel_matrices(c_);
    float* to = space + row * matrices_.group_stride;
    for (int64_t element = 0; element < s_.window[2]; ++element) {
      const float* from = weights + s_.weight(row * s_.window[2] + element);
      for (int64_t j = 0; j < channels(); ++j, ++to, from += as_given.column_stride) {
        for (int64_t i = 0; i < as_given.length; ++i) {
          to[i * matrices_.length_stride] = from[i * as_given.length_stride];
        }
      }
    }
    kernel_.pack(space, row, packed(space));
  }

  void run(int64_t piece, const float* given, const float* packed, float* result) const {
    const int64_t most = most_met(0) * most_met(1);
    const Workspace space(static_cast<size_t>(most * numbers()) * sizeof(float));
    float* const products = static_cast<float*>(space.data());
    std::fill_n(products, most * numbers(), 0.0f);  // what windows meet beyond the given row stays so
    float* const first = products - first_ * columns_;
    const int64_t past = (piece + 1) * rows() / pieces();
    for (int64_t row = piece * rows() / pieces(); row < past; ++row) {
      int64_t count = 0;
      s_.each_line(row, [&](const Line& line, int64_t i, int64_t j) {
        multiply(given + s_.given_line(line), i * s_.window[1] + j, packed,
                 first + count++ * numbers());
      });
      add_up(first, count, result + s_.result_row(row));
    }
  }

 private:
  int64_t channels() const { return matrices_.columns / s_.window[2]; }

  // Lines of the window along an axis that meet something at one position, at the most.
  int64_t most_met(int axis) const {
    return s_.dilation[axis] > 1 ? s_.window[axis]
                                 : divided_up(s_.window[axis], s_.spread[axis]);
  }

  // The products of a given row with one of the kernel's, as [position, columns].
  void multiply(const float* given, int64_t row, const float* packed, float* products) const {
    const SpacedProductLoops& loops = *spaced_product_loops();
    const WindowRow met(given, 0);
    const int64_t positions = s_.given[2];
    const int64_t tiles = divided_up(positions, loops.most_positions(kernel_.widest()));
    SpacedProducts p = {};
    p.met = &met;
    p.count = 1;
    p.length = matrices_.length;
    p.apart = s_.given_stride[2];
    p.to_step = columns_;
    for (int64_t block = 0; block < kernel_.blocks(); ++block) {
      p.matrices = packed + kernel_.place(row, block, 0);
      p.columns = kernel_.wide(block) * kVector;
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t begin = tile * positions / tiles;
        const int64_t size = (tile + 1) * positions / tiles - begin;
        p.offset = begin * p.apart;
        p.to = products + begin * columns_ + kernel_.first_column(block);
        loops.product(static_cast<int>(size), kernel_.wide(block), p.apart)(p);
      }
    }
  }

  // A row of the result. Positions a stride apart meet the same elements.
  void add_up(const float* products, int64_t count, float* result) const {
    const int64_t stride = s_.spread[2];
    std::vector<const float*> terms;
    for (int64_t first = 0; first < std::min(stride, s_.result[2]); ++first) {
      terms.clear();
      for (int64_t element = 0; element < s_.window[2]; ++element) {
        const int64_t place = first + element * s_.dilation[2] - s_.low[2];
        if (place % stride != 0) continue;
        const int64_t at = place / stride * columns_ + element * channels();
        for (int64_t row = 0; row < count; ++row) terms.push_back(products + row * numbers() + at);
      }
      spaced_product_loops()->add_up(
          {terms.data(), static_cast<int64_t>(terms.size()), columns_,
           divided_up(s_.result[2] - first, stride), channels(),
           result + first * s_.result_stride[2], stride * s_.result_stride[2]});
    }
  }

  const Configuration& c_;
  const Sliding s_;
  const KernelMatrices matrices_;
  const PackedKernel kernel_;
  const int64_t columns_;       // with what fills their vectors
  const int64_t first_, past_;  // positions that windows meet, beyond the given row's ends
};

}  // namespace

void refuse_strided_gradient(const Configuration& c) {
  if (spaced_product_loops() == nullptr) refuse("it is slower on this processor");
  if (c.type != Type::kFloat32 || c.groups != 1) {
    refuse("it is not a float32 input gradient of one group");
  }
  if ((c.in_channels > 1 && c.source_strides[1] != 1) ||
      (c.out_channels > 1 && c.destination_strides[1] != 1)) {
    refuse("the channels are not the last axis");
  }
  if (c.in_channels > kMostChannels || c.window.back() * c.in_channels > kMostColumns) {
    refuse("there are many channels in a row of the window");
  }
  const StridedGradient gradient(c);
  if (gradient.size() > 2 * kMostNumbers || gradient.numbers() > kMostNumbers) {
    refuse("its rows or its kernel don't fit into a core's cache");
  }
}

int64_t strided_gradient_pieces(const Configuration& c) { return StridedGradient(c).pieces(); }

void run_strided_gradient(const Configuration& c, const Arrays& arrays, const ForEach& for_each,
                          const Finishing& finish) {
  const StridedGradient gradient(c);
  const Workspace space(static_cast<size_t>(gradient.size()) * sizeof(float));
  float* const kernel = static_cast<float*>(space.data());
  for_each(gradient.kernel_rows(), [&](int64_t row) {
    gradient.pack(static_cast<const float*>(arrays.weights), row, kernel);
  });
  for_each(gradient.pieces(), [&](int64_t piece) {
    gradient.run(piece, static_cast<const float*>(arrays.destination),
                 gradient.packed(kernel), static_cast<float*>(arrays.source));
    if (!finish) return;
    const int64_t first = gradient.pixel(piece);
    finish(piece, first, gradient.pixel(piece + 1) - first);
  });
}

}  // namespace cnn_jax
