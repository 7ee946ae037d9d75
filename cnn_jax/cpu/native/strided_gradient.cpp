#include "strided_gradient.h"

#include <algorithm>
#include <vector>

#include "packed_kernel.h"
#include "primitives.h"
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

// What is given and made along the three axes. Axes that are missing stand first.
struct Axes {
  int64_t given[3], result[3], window[3], stride[3], dilation[3], low[3];
  int64_t given_stride[3], result_stride[3], weights_stride[3];

  explicit Axes(const Configuration& c) {
    const size_t missing = 3 - c.window.size();
    for (size_t axis = 0; axis < 3; ++axis) {
      const bool there = axis >= missing;
      const size_t i = there ? axis - missing : 0;
      given[axis] = there ? c.output[i] : 1;
      result[axis] = there ? c.input[i] : 1;
      window[axis] = there ? c.window[i] : 1;
      stride[axis] = there ? c.stride[i] : 1;
      dilation[axis] = there ? c.dilation[i] : 1;
      low[axis] = there ? c.padding_low[i] : 0;
      given_stride[axis] = there ? c.destination_strides[i + 2] : 0;
      result_stride[axis] = there ? c.source_strides[i + 2] : 0;
      weights_stride[axis] = there ? c.weights_strides[i + 3] : 0;
    }
  }

  int64_t rows() const { return result[0] * result[1]; }  // of an image's result

  // Calls body(place, element) with the places of an axis whose window has an element at a position.
  template <typename Body>
  void each(int axis, int64_t position, const Body& body) const {
    for (int64_t element = 0; element < window[axis]; ++element) {
      const int64_t at = position + low[axis] - element * dilation[axis];
      if (at < 0 || at % stride[axis] != 0 || at / stride[axis] >= given[axis]) continue;
      body(at / stride[axis], element);
    }
  }
};

// The kernel's rows: matrices [given channels, elements of a row and their channels].
KernelMatrices by_rows(const Configuration& c, const Axes& axes) {
  KernelMatrices made = {};
  made.groups = axes.window[0] * axes.window[1];
  made.window[0] = made.window[1] = made.window[2] = 1;
  made.length = c.out_channels;
  made.columns = axes.window[2] * c.in_channels;
  made.group_stride = made.length * made.columns;
  made.length_stride = made.columns;
  made.column_stride = 1;
  return made;
}

class StridedGradient {
 public:
  explicit StridedGradient(const Configuration& configuration)
      : c_(configuration),
        axes_(configuration),
        matrices_(by_rows(configuration, axes_)),
        kernel_(matrices_, Along::kColumns),
        columns_(divided_up(matrices_.columns, kVector) * kVector),
        first_(std::min<int64_t>(
            0, divided_down(axes_.low[2] - (axes_.window[2] - 1) * axes_.dilation[2],
                            axes_.stride[2]))),
        past_(std::max(axes_.given[2],
                       (axes_.result[2] - 1 + axes_.low[2]) / axes_.stride[2] + 1)) {}

  int64_t rows() const { return c_.batch * axes_.rows(); }
  int64_t pieces() const { return std::min(rows(), kPieces); }
  int64_t pixel(int64_t piece) const { return piece * rows() / pieces() * axes_.result[2]; }

  // Of the products of a given row, some of which are nothing.
  int64_t numbers() const { return (past_ - first_) * columns_; }

  // Of the kernel as it is packed, and before.
  int64_t size() const { return kernel_.size() + c_.weights_size(); }

  // Returns where the packed kernel stands.
  const float* pack(const float* weights, float* space) const {
    float* const packed = space + c_.weights_size();
    float* to = space;
    for (int64_t row = 0; row < matrices_.groups; ++row) {
      const float* const first = weights + row / axes_.window[1] * axes_.weights_stride[0] +
                                 row % axes_.window[1] * axes_.weights_stride[1];
      for (int64_t i = 0; i < c_.out_channels; ++i) {
        for (int64_t element = 0; element < axes_.window[2]; ++element) {
          const float* const from =
              first + i * c_.weights_strides[1] + element * axes_.weights_stride[2];
          for (int64_t j = 0; j < c_.in_channels; ++j) *to++ = from[j * c_.weights_strides[2]];
        }
      }
    }
    for (int64_t row = 0; row < matrices_.groups; ++row) kernel_.pack(space, row, packed);
    return packed;
  }

  void run(int64_t piece, const float* given, const float* packed, float* result) const {
    const int64_t most = most_met(0) * most_met(1);
    const Workspace space(static_cast<size_t>(most * numbers()) * sizeof(float));
    float* const products = static_cast<float*>(space.data());
    std::fill_n(products, most * numbers(), 0.0f);  // what windows meet beyond the given row stays so
    const int64_t past = (piece + 1) * rows() / pieces();
    for (int64_t row = piece * rows() / pieces(); row < past; ++row) {
      const int64_t image = row / axes_.rows(), within = row % axes_.rows();
      const int64_t outer = within / axes_.result[1], inner = within % axes_.result[1];
      int64_t count = 0;
      axes_.each(0, outer, [&](int64_t slice, int64_t i) {
        axes_.each(1, inner, [&](int64_t line, int64_t j) {
          const float* const from = given + image * c_.destination_strides[0] +
                                    slice * axes_.given_stride[0] + line * axes_.given_stride[1];
          multiply(from, i * axes_.window[1] + j, packed,
                   products + count * numbers() - first_ * columns_);
          ++count;
        });
      });
      add_up(products - first_ * columns_, count,
             result + image * c_.source_strides[0] + outer * axes_.result_stride[0] +
                 inner * axes_.result_stride[1]);
    }
  }

 private:
  // Elements of the window along an axis that one position can have, at the most.
  int64_t most_met(int axis) const {
    return axes_.dilation[axis] > 1 ? axes_.window[axis]
                                    : divided_up(axes_.window[axis], axes_.stride[axis]);
  }

  // The products of a given row with one of the kernel's, as [position, columns].
  void multiply(const float* given, int64_t row, const float* packed, float* products) const {
    const SpacedProductLoops& loops = *spaced_product_loops();
    const WindowRow met(given, 0);
    const int64_t positions = axes_.given[2];
    const int64_t tiles = divided_up(positions, loops.most_positions(kernel_.widest()));
    SpacedProducts p = {};
    p.met = &met;
    p.count = 1;
    p.length = c_.out_channels;
    p.apart = axes_.given_stride[2];
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
    const int64_t stride = axes_.stride[2], low = axes_.low[2];
    std::vector<const float*> terms;
    for (int64_t first = 0; first < std::min(stride, axes_.result[2]); ++first) {
      const int64_t phase = (first + low) % stride, place = (first + low) / stride;
      terms.clear();
      for (int64_t element = 0; element < axes_.window[2]; ++element) {
        const int64_t shift = element * axes_.dilation[2];
        if (shift % stride != phase) continue;
        const int64_t at = (place - shift / stride) * columns_ + element * c_.in_channels;
        for (int64_t row = 0; row < count; ++row) terms.push_back(products + row * numbers() + at);
      }
      spaced_product_loops()->add_up(
          {terms.data(), static_cast<int64_t>(terms.size()), columns_,
           divided_up(axes_.result[2] - first, stride), c_.in_channels,
           result + first * axes_.result_stride[2], stride * axes_.result_stride[2]});
    }
  }

  const Configuration& c_;
  const Axes axes_;
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
  const float* const packed = gradient.pack(static_cast<const float*>(arrays.weights),
                                            static_cast<float*>(space.data()));
  for_each(gradient.pieces(), [&](int64_t piece) {
    gradient.run(piece, static_cast<const float*>(arrays.destination), packed,
                 static_cast<float*>(arrays.source));
    if (!finish) return;
    const int64_t first = gradient.pixel(piece);
    finish(piece, first, gradient.pixel(piece + 1) - first);
  });
}

}  // namespace cnn_jax
