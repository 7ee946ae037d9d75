// Kernel gradients of volumes by Winograd's minimal filtering of each slice.
#pragma once

#include <cstdint>

#include "product.h"
#include "slices_cut.h"
#include "sliding.h"
#include "winograd_tiles.h"

namespace cnn_jax {

class WinogradSliceSums {
 public:
  explicit WinogradSliceSums(const Configuration& configuration);

  void run(const float* picture, const float* gradient, float* weights,
           const ForEach& for_each) const;

 private:
  int64_t size() const { return kProducts * s_.window[0] * in_ * out_; }  // numbers of the sums

  void transform(const SlicesPiece& piece, const float* gradient, int64_t slice, float* nothing,
                 float* transformed) const;
  void add(const SlicesPiece& piece, const float* picture, const float* gradient,
           float* sums) const;
  void restore(int64_t row, float* sums, float* weights) const;

  const Sliding s_;
  const int64_t in_, out_, in_stride_, out_stride_;
  const WinogradTiles tiles_;
  const SlicesCut cut_;
  const int64_t together_;  // slices whose products are added up at once
  int64_t parts_;           // that have sums of their own
};

}  // namespace cnn_jax
