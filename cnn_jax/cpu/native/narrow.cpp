#include "narrow.h"

#include <algorithm>
#include <vector>

#include "numbers.h"
#include "kept_rows.h"
#include "packed_kernel.h"
#include "padded_rows.h"
#include "primitives.h"
#include "row_products.h"
#include "rows_cut.h"
#include "shared_out.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr double kMostKept = 1 << 20;  // numbers of rows
constexpr int64_t kMostWeights = 1 << 18;

// A row of a padded picture has its channels next to each other, and so a window's row.
KernelMatrices by_rows(const Configuration& c, const Sliding& s) {
  KernelMatrices kernel = kernel_matrices(c);
  kernel.length *= s.window[2];
  kernel.window[2] = 1;
  kernel.column_stride = 1;
  kernel.length_stride = kernel.columns;
  kernel.group_stride = kernel.window_strides[2] = 0;
  kernel.window_strides[1] = kernel.length * kernel.columns;
  kernel.window_strides[0] = kernel.window[1] * kernel.window_strides[1];
  return kernel;
}

class Narrow {
 public:
  explicit Narrow(const Configuration& configuration)
      : c_(configuration),
        products_(*row_product_loops()),
        loops_(*sliding_loops()),
        s_(configuration),
        matrices_(by_rows(configuration, s_)),
        kernel_(matrices_),
        cut_(RowsCut::of_result(s_, matrices_.columns, c_.after != After::kNothing)) {}

  const RowsCut& cut() const { return cut_; }

  double kept() const { return KeptRows<PaddedRows>::size(s_, padded(nullptr)); }

  // Of the kernel, packed and before.
  int64_t size() const { return kernel_.size() + c_.weights_size(); }

  // Returns where the packed kernel stands.
  const float* pack(const void* weights, float* space) const {
    const KernelMatrices as_given = kernel_matrices(c_);
    float* const packed = space + c_.weights_size();
    float* to = space;
    for (int64_t element = 0; element < s_.elements(); ++element) {
      for (int64_t i = 0; i < inputs(); ++i) {
        for (int64_t j = 0; j < matrices_.columns; ++j, ++to) {
          const int64_t at = s_.weight(element) + i * as_given.length_stride +
                             j * as_given.column_stride;
          *to = number_at(weights, at, c_.type);
        }
      }
    }
    for (int64_t number = 0; number < kernel_.matrices(); ++number) {
      kernel_.pack(space, number, packed);
    }
    return packed;
  }

  void run(int64_t piece, const void* given, const float* packed, void* result) const {
    const PaddedRows padded_rows = padded(given);
    KeptRows<PaddedRows> rows(s_, padded_rows);
    const bool wide = c_.type == Type::kFloat32;
    const Workspace space(wide ? 0 : cut_.positions * matrices_.columns * sizeof(float));
    float* const sums = static_cast<float*>(space.data());
    for (int64_t segment = cut_.begin(piece); segment < cut_.begin(piece + 1); ++segment) {
      const int64_t positions = cut_.positions_of(segment), step = s_.result_stride[2];
      const auto& met = rows.met(cut_.row(segment), cut_.first(segment));
      const int64_t at = s_.result_row(cut_.row(segment)) + cut_.first(segment) * step;
      if (wide) {
        multiply(met, positions, packed, static_cast<float*>(result) + at, step);
        continue;
      }
      multiply(met, positions, packed, sums, matrices_.columns);
      loops_.narrow({sums, positions, matrices_.columns, static_cast<Bfloat16*>(result) + at, step});
    }
  }

 private:
  PaddedRows padded(const void* given) const {
    return {s_, loops_, c_.type, given, inputs(), inputs(), cut_.positions};
  }

  int64_t inputs() const { return matrices_.length / s_.window[2]; }

  // Neighbouring positions whose rows were met.
  void multiply(const std::vector<WindowRow>& met, int64_t positions, const float* packed,
                float* result, int64_t step) const {
    const auto count = static_cast<int64_t>(met.size());
    const int64_t most = products_.most_rows(kernel_.widest());
    const int64_t tiles = divided_up(positions, most), apart = s_.stride[2] * inputs();
    std::vector<const float*> rows(static_cast<size_t>(count * most)), matrices;
    for (int64_t block = 0; block < kernel_.blocks(); ++block) {
      for (const WindowRow& row : met) {
        matrices.push_back(packed + kernel_.place(0, block, row.number));
      }
    }
    float* to[kMostRows];
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t begin = tile * positions / tiles;
      const int64_t size = (tile + 1) * positions / tiles - begin;
      for (int64_t i = 0; i < count; ++i) {
        const float* row = met[i].pixels + begin * apart;
        for (int64_t j = 0; j < size; ++j, row += apart) rows[i * size + j] = row;
      }
      for (int64_t j = 0; j < size; ++j) to[j] = result + (begin + j) * step;
      for (int64_t block = 0; block < kernel_.blocks(); ++block) {
        products_.product(kernel_.along, static_cast<int>(size), kernel_.wide(block))(
            {rows.data(), matrices.data() + block * count, count, matrices_.length, to,
             kernel_.first_column(block), kernel_.columns(block), true});
      }
    }
  }

  const Configuration& c_;
  const RowProductLoops& products_;
  const SlidingLoops& loops_;
  const Sliding s_;
  const KernelMatrices matrices_;
  const PackedKernel kernel_;
  const RowsCut cut_;
};

}  // namespace

void refuse_narrow(const Configuration& c) {
  if (row_product_loops() == nullptr || sliding_loops() == nullptr) {
    refuse("it is slower on this processor");
  }
  if (c.kind == Kind::kKernelGradient || c.groups != 1) {
    refuse("it is not a convolution of one group or its input gradient");
  }
  if ((c.in_channels > 1 && c.source_strides[1] != 1) ||
      (c.out_channels > 1 && c.destination_strides[1] != 1)) {
    refuse("the channels are not the last axis");
  }
  if (c.dilation.back() > 1 && c.window.back() > 1) refuse("the window's rows have gaps");
  if (c.weights_size() > kMostWeights || Narrow(c).kept() > kMostKept) {
    refuse("its rows or its kernel don't fit into a core's cache");
  }
}

int64_t narrow_pieces(const Configuration& c) { return Narrow(c).cut().pieces; }

void run_narrow(const Configuration& c, const Arrays& arrays, const ForEach& for_each,
                const Finishing& finish) {
  refuse_narrow(c);
  const Narrow narrow(c);
  const Workspace space(static_cast<size_t>(narrow.size()) * sizeof(float));
  const float* const packed = narrow.pack(arrays.weights, static_cast<float*>(space.data()));
  const bool forward = c.kind == Kind::kForward;
  const void* const given = forward ? arrays.source : arrays.destination;
  void* const result = forward ? arrays.destination : arrays.source;
  narrow.cut().each_piece(shared_out(c.vector_work(), for_each), finish,
                         [&](int64_t piece) { narrow.run(piece, given, packed, result); });
}

}  // namespace cnn_jax
