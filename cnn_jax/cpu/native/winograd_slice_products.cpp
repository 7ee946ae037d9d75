#include "winograd_slice_products.h"

#include <algorithm>
#include <vector>

#include "spaced_products.h"
#include "transformed_slices.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

// Tiles of a slice whose products are taken together: what they need stays in a core's cache.
constexpr int64_t kInCache = 96 << 10;  // numbers
constexpr int64_t kFewest = 16;
constexpr int64_t kPieces = 8;   // at least, if they can be had
constexpr int64_t kTurned = 16;  // rows of matrices that are packed together
constexpr int64_t kElements = kWindow * kWindow;

size_t bytes(int64_t count) { return static_cast<size_t>(count) * sizeof(float); }

// Where each needs so many numbers.
int64_t tiles_together(int64_t numbers, int64_t tiles) {
  return std::max(kFewest, std::min(kInCache / numbers, tiles / kPieces));
}

// The transformed kernel: a matrix for each product and slice of the window.
KernelMatrices transformed(int64_t depth, int64_t from, int64_t to) {
  KernelMatrices made = {};
  made.groups = kProducts;
  made.window[0] = made.window[1] = 1;
  made.window[2] = depth;
  made.length = from;
  made.columns = to;
  return made;
}

}  // namespace

WinogradSliceProducts::WinogradSliceProducts(const Configuration& c)
    : s_(c),
      matrices_(kernel_matrices(c)),
      from_(matrices_.length),
      to_(matrices_.columns),
      kernel_(transformed(depth(), from_, to_), Along::kColumns),
      tiles_(s_.batch, s_.result[1], s_.result[2]),
      cut_(s_, tiles_, tiles_together(kProducts * (depth() * from_ + to_), tiles_.count)) {}

void WinogradSliceProducts::run(const float* given, const float* weights, float* result,
                                const ForEach& for_each, const Finishing& finish) const {
  const Workspace space(bytes(kernel_.size()));
  float* const packed = static_cast<float*>(space.data());
  const int64_t parts = divided_up(from_, kTurned);
  for_each(depth() * parts, [&](int64_t number) {
    const int64_t first = number % parts * kTurned;
    pack(weights, number / parts, first, std::min(from_, first + kTurned), packed);
  });
  for_each(pieces(), [&](int64_t piece) { run(piece, given, packed, result, finish); });
}

// Some rows of the transformed matrices of a slice of the window.
void WinogradSliceProducts::pack(const float* weights, int64_t slice, int64_t first, int64_t past,
                                 float* packed) const {
  const int64_t row = matrices_.length_stride, column = matrices_.column_stride;
  if (column == 1) {
    const Square window = {const_cast<float*>(weights) + s_.weight(slice * kElements) + first * row,
                           s_.weights_stride[1], s_.weights_stride[2]};
    return transform(window, row, slice, first, past, packed);
  }
  const Workspace space(bytes(kElements * kTurned * to_));
  float* const turned = static_cast<float*>(space.data());
  for (int64_t element = 0; element < kElements; ++element) {
    const float* const from = weights + s_.weight(slice * kElements + element) + first * row;
    float* const to = turned + element * kTurned * to_;
    for (int64_t j = 0; j < to_; ++j) {
      for (int64_t i = 0; i < past - first; ++i) to[i * to_ + j] = from[i * row + j * column];
    }
  }
  transform({turned, kWindow * kTurned * to_, kTurned * to_}, to_, slice, first, past, packed);
}

// The same of windows whose rows lie so far from each other.
void WinogradSliceProducts::transform(Square window, int64_t row, int64_t slice, int64_t first,
                                      int64_t past, float* packed) const {
  for (int64_t i = first; i < past; ++i, window.corner += row) {
    for (int64_t block = 0; block < kernel_.blocks(); ++block) {
      const int64_t place = kernel_.place(0, block, slice), count = kernel_.columns(block);
      const int64_t step = kernel_.place(1, block, slice) - place;
      const int64_t wide = kernel_.wide(block) * kVector;
      float* const to = packed + place + i * wide;
      transform_window({window.corner + kernel_.first_column(block), window.down, window.right},
                       {to, kPatch * step, step}, count);
      for (int64_t product = 0; product < kProducts; ++product) {
        std::fill_n(to + product * step + count, wide - count, 0.0f);
      }
    }
  }
}

void WinogradSliceProducts::run(int64_t piece, const float* given, const float* packed,
                                float* result, const Finishing& finish) const {
  const SlicesPiece here = cut_.piece(piece);
  const int64_t begin = here.first_tile, end = here.past_tile;
  TransformedSlices slices(s_, tiles_, here, cut_.block(), given, from_);
  const int64_t step = cut_.block() * to_;
  const Workspace space(bytes(kProducts * step + to_));
  float* const sums = static_cast<float*>(space.data());
  float* const outside = sums + kProducts * step;
  for (int64_t slice = here.first_slice; slice < here.past_slice; ++slice) {
    multiply(slices.met(slice), end - begin, packed, sums);
    const WinogradPictures to =
        slice_of(result, s_.result, to_, s_.result_image, s_.result_stride, slice);
    tiles_.each(begin, end, [&](int64_t tile, int64_t image, int64_t top, int64_t left) {
      const Square products = {sums + tile * to_, kPatch * step, step};
      to.square<kTile>(image, top, left, outside,
                       [&](const auto& square) { restore_tile(products, square, to_); });
    });
    if (!finish) continue;
    tiles_.each_row(begin, end, [&](int64_t image, int64_t pixel, int64_t pixels) {
      const int64_t before = image * s_.result[0] + slice;
      finish(piece, before * s_.result[1] * s_.result[2] + pixel, pixels);
    });
  }
}

// As [product, tile, to].
void WinogradSliceProducts::multiply(const std::vector<WindowRow>& met, int64_t count,
                                     const float* packed, float* sums) const {
  const SpacedProductLoops& loops = *spaced_product_loops();
  SpacedProducts p = {};
  p.met = met.data();
  p.count = static_cast<int64_t>(met.size());
  p.length = p.apart = from_;
  p.to_step = to_;
  const int64_t tiles = divided_up(count, loops.most_positions(kernel_.widest()));
  for (int64_t product = 0; product < kProducts; ++product) {
    for (int64_t block = 0; block < kernel_.blocks(); ++block) {
      p.matrices = packed + kernel_.place(product, block, 0);
      p.matrix = kernel_.place(product, block, 1) - kernel_.place(product, block, 0);
      p.columns = kernel_.columns(block);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        const int64_t begin = tile * count / tiles, size = (tile + 1) * count / tiles - begin;
        const int64_t row = product * cut_.block() + begin;
        p.offset = row * from_;
        p.to = sums + row * to_ + kernel_.first_column(block);
        loops.product(static_cast<int>(size), kernel_.wide(block), p.apart)(p);
      }
    }
  }
}

}  // namespace cnn_jax
