#include "winograd_slice_sums.h"

#include <algorithm>
#include <vector>

#include "outer_products.h"
#include "transformed_slices.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr int64_t kInCache = 96 << 10;  // numbers that a block of tiles needs
constexpr int64_t kFewest = 32;         // tiles of a block
// Of each sum before it is stored; of more channels more, since the sums are further away.
constexpr int64_t kFewestProducts = 64;
// Each part of the work has sums of its own, so that the result is the same with any number of threads.
constexpr int64_t kMostParts = 16;
constexpr int64_t kWorthAPart = 96, kWorthALargePart = 256;  // products for each sum
constexpr int64_t kLarge = 128 << 10;                        // numbers that leave a core's cache
constexpr int64_t kMostNumbers = int64_t{16} << 20;          // of all parts

size_t bytes(int64_t count) { return static_cast<size_t>(count) * sizeof(float); }

}  // namespace

WinogradSliceSums::WinogradSliceSums(const Configuration& c)
    : s_(c),
      in_(c.in_channels),
      out_(c.out_channels),
      in_stride_(c.weights_strides[2]),
      out_stride_(c.weights_strides[1]),
      tiles_(s_.batch, s_.result[1], s_.result[2]),
      cut_(s_, tiles_,
           std::max(kFewest, kInCache / (kProducts * (s_.window[0] * in_ + out_)))),
      together_(std::clamp<int64_t>(
          std::max(kFewestProducts, in_ * out_ / (in_ + out_)) / cut_.block(), 1, s_.result[0])) {
  const int64_t products = tiles_.count * s_.result[0];
  int64_t worth = products / kWorthAPart;
  if (size() > kLarge) worth = std::max(std::min<int64_t>(worth, 2), products / kWorthALargePart);
  const int64_t most = std::min({worth, kMostNumbers / size(), kMostParts});
  parts_ = std::clamp<int64_t>(most, 1, cut_.pieces());
}

void WinogradSliceSums::run(const float* picture, const float* gradient, float* weights,
                            const ForEach& for_each) const {
  const Workspace space(bytes(parts_ * size()));
  float* const sums = static_cast<float*>(space.data());
  for_each(parts_, [&](int64_t part) {
    float* const own = sums + part * size();
    std::fill_n(own, size(), 0.0f);
    const int64_t past = (part + 1) * cut_.pieces() / parts_;
    for (int64_t piece = part * cut_.pieces() / parts_; piece < past; ++piece) {
      add(cut_.piece(piece), picture, gradient, own);
    }
  });
  for_each(s_.window[0] * in_, [&](int64_t row) { restore(row, sums, weights); });
}

// A slice of the gradient, as [product, tile, out].
void WinogradSliceSums::transform(const SlicesPiece& piece, const float* gradient, int64_t slice,
                                  float* nothing, float* transformed) const {
  const WinogradPictures from = slice_of(const_cast<float*>(gradient), s_.result, out_,
                                         s_.result_image, s_.result_stride, slice);
  const int64_t step = cut_.block() * out_;
  const auto body = [&](int64_t tile, int64_t image, int64_t top, int64_t left) {
    const Square to = {transformed + tile * out_, kPatch * step, step};
    from.square<kTile>(image, top, left, nothing,
                       [&](const auto& square) { transform_tile(square, to, out_); });
  };
  tiles_.each(piece.first_tile, piece.past_tile, body);
}

// Adds up [product, slice of the window, in, out] over a piece.
void WinogradSliceSums::add(const SlicesPiece& piece, const float* picture, const float* gradient,
                            float* sums) const {
  const OuterProductLoops& loops = *outer_product_loops();
  const int64_t tiles = piece.past_tile - piece.first_tile, depth = s_.window[0];
  TransformedSlices slices(s_, tiles_, piece, cut_.block(), picture, in_, together_ - 1);
  const int64_t step = cut_.block() * out_, slice_step = kProducts * step;
  const Workspace space(bytes(together_ * slice_step + out_));
  float* const gradients = static_cast<float*>(space.data());
  float* const nothing = gradients + together_ * slice_step;
  std::fill_n(nothing, out_, 0.0f);
  std::vector<std::vector<Run>> met(static_cast<size_t>(depth));  // by slices of the window
  std::vector<Run> runs;
  for (int64_t first = piece.first_slice; first < piece.past_slice; first += together_) {
    const int64_t past = std::min(piece.past_slice, first + together_);
    for (auto& each : met) each.clear();
    for (int64_t slice = first; slice < past; ++slice) {
      float* const transformed = gradients + (slice - first) * slice_step;
      transform(piece, gradient, slice, nothing, transformed);
      for (const WindowRow& row : slices.met(slice)) {
        met[row.number].push_back({row.pixels, transformed, tiles});
      }
    }
    for (int64_t product = 0; product < kProducts; ++product) {
      for (int64_t slice = 0; slice < depth; ++slice) {
        runs = met[slice];
        for (Run& run : runs) {
          run.picture += product * cut_.block() * in_;
          run.gradient += product * step;
        }
        Ahead none = {gradients, gradients};
        float* const to = sums + (product * depth + slice) * in_ * out_;
        loops.sum({runs.data(), static_cast<int64_t>(runs.size()), in_, out_, in_, out_, to, out_,
                   false},
                  &none, &none);
      }
    }
  }
}

// Adds up the parts' sums of an input of a slice of the window, in the first of them, and takes them
// back to the window's elements.
void WinogradSliceSums::restore(int64_t row, float* sums, float* weights) const {
  const int64_t step = s_.window[0] * in_ * out_;
  for (int64_t part = 1; part < parts_; ++part) {
    for (int64_t product = 0; product < kProducts; ++product) {
      float* const total = sums + product * step + row * out_;
      outer_product_loops()->add(total, total + part * size(), out_);
    }
  }
  const Square products = {sums + row * out_, kPatch * step, step};
  const int64_t slice = row / in_;
  float* const to = weights + s_.weight(slice * kWindow * kWindow) + row % in_ * in_stride_;
  if (out_stride_ == 1) {
    return restore_window(products, {to, s_.weights_stride[1], s_.weights_stride[2]}, out_);
  }
  const Workspace space(bytes(kWindow * kWindow * out_));
  float* const restored = static_cast<float*>(space.data());
  restore_window(products, {restored, kWindow * out_, out_}, out_);
  for (int64_t element = 0; element < kWindow * kWindow; ++element) {
    const int64_t at = s_.weight(element) - s_.weight(0);
    for (int64_t i = 0; i < out_; ++i) to[at + i * out_stride_] = restored[element * out_ + i];
  }
}

}  // namespace cnn_jax
