#include "narrow.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "kept_rows.h"
#include "padded_rows.h"
#include "past_caches.h"
#include "primitives.h"
#include "row_kernel.h"
#include "row_products.h"
#include "rows_cut.h"
#include "shared_out.h"
#include "slabs.h"
#include "spaced_products.h"
#include "strided_gradient.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr double kMostKept = 1 << 20;  // numbers of rows
constexpr int64_t kMostWeights = 1 << 18;

// One convolution, of which pieces may be computed at the same time.
class Narrow {
 public:
  Narrow(const Configuration& configuration, const void* given)
      : c_(configuration),
        given_(given),
        s_(configuration),
        kernel_(configuration, s_) {}
  Narrow(const Narrow&) = delete;
  Narrow& operator=(const Narrow&) = delete;
  virtual ~Narrow() = default;

  const RowKernel& kernel() const { return kernel_; }

  // Numbers of the rows that are kept.
  virtual double kept() const = 0;
  virtual int64_t pieces() const = 0;

  // The number of a piece's first position.
  virtual int64_t position(int64_t piece) const = 0;

  virtual void run(int64_t piece, const float* packed, void* result) const = 0;

 protected:
  bool wide() const { return c_.type == Type::kFloat32; }

  PaddedRows padded(int64_t positions) const {
    return {s_, loops_, c_.type, given_, kernel_.inputs(), kernel_.inputs(), positions};
  }

  // Numbers from what a position meets to what the next one does.
  int64_t apart() const { return s_.stride[2] * kernel_.inputs(); }

  // Calls multiply(to, step) for neighbouring positions of a row, with where their results are to
  // stand, so many numbers from each other.
  template <typename Multiply>
  void write(void* result, int64_t at, int64_t positions, float* sums,
             const Multiply& multiply) const {
    if (wide()) return multiply(static_cast<float*>(result) + at, s_.result_stride[2]);
    multiply(sums, kernel_.columns());
    loops_.narrow({sums, positions, kernel_.columns(), static_cast<Bfloat16*>(result) + at,
                   s_.result_stride[2]});
  }

  // For the sums of so many positions, before they are rounded.
  Workspace space(int64_t positions) const {
    return Workspace(wide() ? 0 : positions * kernel_.columns() * sizeof(float));
  }

  const Configuration& c_;
  const void* const given_;
  const SlidingLoops& loops_ = *sliding_loops();
  const Sliding s_;
  const RowKernel kernel_;
};

// With vectors along a window's row, where few results are made of many inputs.
class AlongRow : public Narrow {
 public:
  AlongRow(const Configuration& configuration, const void* given)
      : Narrow(configuration, given),
        cut_(RowsCut::of_result(s_, kernel_.columns(), c_.after != After::kNothing)) {}

  double kept() const override {
    return KeptRows<PaddedRows>::size(s_, padded(cut_.positions));
  }
  int64_t pieces() const override { return cut_.pieces; }
  int64_t position(int64_t piece) const override { return cut_.position(cut_.begin(piece)); }

  void run(int64_t piece, const float* packed, void* result) const override {
    const PaddedRows padded_rows = padded(cut_.positions);
    KeptRows<PaddedRows> rows(s_, padded_rows);
    const Workspace sums = space(cut_.positions);
    for (int64_t segment = cut_.begin(piece); segment < cut_.begin(piece + 1); ++segment) {
      const int64_t positions = cut_.positions_of(segment), first = cut_.first(segment);
      const auto& met = rows.met(cut_.row(segment), first);
      const int64_t at = s_.result_row(cut_.row(segment)) + first * s_.result_stride[2];
      write(result, at, positions, static_cast<float*>(sums.data()),
            [&](float* to, int64_t step) { multiply(met, positions, packed, to, step); });
    }
  }

 private:
  // Neighbouring positions whose rows were met.
  void multiply(const std::vector<WindowRow>& met, int64_t positions, const float* packed,
                float* result, int64_t step) const {
    const PackedKernel& kernel = kernel_.packed();
    const auto count = static_cast<int64_t>(met.size());
    const int64_t most = products_.most_rows(kernel.widest());
    const int64_t tiles = divided_up(positions, most);
    std::vector<const float*> rows(static_cast<size_t>(count * most)), matrices;
    for (int64_t block = 0; block < kernel.blocks(); ++block) {
      for (const WindowRow& row : met) {
        matrices.push_back(packed + kernel.place(0, block, row.number));
      }
    }
    float* to[kMostRows];
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t begin = tile * positions / tiles;
      const int64_t size = (tile + 1) * positions / tiles - begin;
      for (int64_t i = 0; i < count; ++i) {
        const float* row = met[i].pixels + begin * apart();
        for (int64_t j = 0; j < size; ++j, row += apart()) rows[i * size + j] = row;
      }
      for (int64_t j = 0; j < size; ++j) to[j] = result + (begin + j) * step;
      for (int64_t block = 0; block < kernel.blocks(); ++block) {
        products_.product(kernel.along, static_cast<int>(size), kernel.wide(block))(
            {rows.data(), matrices.data() + block * count, count, kernel_.length(), to,
             kernel.first_column(block), kernel.columns(block), true});
      }
    }
  }

  const RowProductLoops& products_ = *row_product_loops();
  const RowsCut cut_;
};

// With vectors of the results, where many are made of few inputs.
class AlongColumns : public Narrow {
 public:
  AlongColumns(const Configuration& configuration, const void* given)
      : Narrow(configuration, given),
        rows_(padded(s_.result[2])),
        slabs_(s_, rows_, kernel_.columns(), c_.after != After::kNothing) {}

  double kept() const override { return static_cast<double>(slabs_.size()); }
  int64_t pieces() const override { return slabs_.slabs(); }
  int64_t position(int64_t piece) const override {
    return slabs_.first_row(piece) * s_.result[2];
  }

  void run(int64_t piece, const float* packed, void* result) const override {
    const Workspace slab(static_cast<size_t>(slabs_.size()) * sizeof(float));
    const Workspace sums = space(s_.result[2]);
    SpacedProducts products = {};
    products.length = kernel_.length();
    products.apart = apart();
    // What follows finds it in the caches.
    products.past_caches = wide() && c_.after == After::kNothing &&
                           stored_past_caches(s_, kernel_.columns(), c_.type, result);
    slabs_.each_row(
        piece, static_cast<float*>(slab.data()),
        [&](int64_t row, const std::vector<WindowRow>& met, int64_t offset) {
          products.met = met.data();
          products.count = static_cast<int64_t>(met.size());
          products.offset = offset;
          write(result, s_.result_row(row), s_.result[2], static_cast<float*>(sums.data()),
                [&](float* to, int64_t step) { multiply(products, packed, to, step); });
        });
    if (products.past_caches) products_.finish_stores();
  }

 private:
  // A whole row of positions.
  void multiply(SpacedProducts p, const float* packed, float* result, int64_t step) const {
    const PackedKernel& kernel = kernel_.packed();
    const int64_t positions = s_.result[2], first = p.offset;
    const int64_t tiles = divided_up(positions, products_.most_positions(kernel.widest()));
    p.to_step = step;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t begin = tile * positions / tiles;
      const int64_t size = (tile + 1) * positions / tiles - begin;
      p.offset = first + begin * p.apart;
      for (int64_t block = 0; block < kernel.blocks(); ++block) {
        p.matrices = packed + kernel.place(0, block, 0);
        p.matrix = kernel.place(0, block, 1) - kernel.place(0, block, 0);
        p.to = result + begin * step + kernel.first_column(block);
        p.columns = kernel.columns(block);
        products_.product(static_cast<int>(size), kernel.wide(block), p.apart)(p);
      }
    }
  }

  const SpacedProductLoops& products_ = *spaced_product_loops();
  const PaddedRows rows_;
  const Slabs slabs_;
};

std::unique_ptr<const Narrow> narrow(const Configuration& c, const void* given) {
  if (RowKernel(c, Sliding(c)).packed().along == Along::kRow) {
    return std::make_unique<AlongRow>(c, given);
  }
  return std::make_unique<AlongColumns>(c, given);
}

bool is_strided_gradient(const Configuration& c) {
  const auto moves = [](int64_t step) { return step > 1; };
  return c.kind == Kind::kInputGradient && c.type == Type::kFloat32 &&
         std::any_of(c.stride.begin(), c.stride.end(), moves);
}

}  // namespace

void refuse_narrow(const Configuration& c) {
  if (is_strided_gradient(c)) return refuse_strided_gradient(c);
  if (row_product_loops() == nullptr) refuse("it is slower on this processor");
  if (c.kind == Kind::kKernelGradient || c.groups != 1) {
    refuse("it is not a convolution of one group or its input gradient");
  }
  if ((c.in_channels > 1 && c.source_strides[1] != 1) ||
      (c.out_channels > 1 && c.destination_strides[1] != 1)) {
    refuse("the channels are not the last axis");
  }
  if (c.dilation.back() > 1 && c.window.back() > 1) refuse("the window's rows have gaps");
  if (c.weights_size() > kMostWeights || narrow(c, nullptr)->kept() > kMostKept) {
    refuse("its rows or its kernel don't fit into a core's cache");
  }
}

int64_t narrow_pieces(const Configuration& c) {
  return is_strided_gradient(c) ? strided_gradient_pieces(c) : narrow(c, nullptr)->pieces();
}

void run_narrow(const Configuration& c, const Arrays& arrays, const ForEach& for_each,
                const Finishing& finish) {
  refuse_narrow(c);
  const ForEach each = shared_out(c.vector_work(), for_each);
  if (is_strided_gradient(c)) return run_strided_gradient(c, arrays, each, finish);
  const bool forward = c.kind == Kind::kForward;
  const auto made = narrow(c, forward ? arrays.source : arrays.destination);
  void* const result = forward ? arrays.destination : arrays.source;
  const Workspace space(static_cast<size_t>(made->kernel().size()) * sizeof(float));
  const float* const packed =
      made->kernel().pack(arrays.weights, static_cast<float*>(space.data()));
  each(made->pieces(), [&](int64_t piece) {
    made->run(piece, packed, result);
    if (!finish) return;
    const int64_t first = made->position(piece);
    finish(piece, first, made->position(piece + 1) - first);
  });
}

}  // namespace cnn_jax
