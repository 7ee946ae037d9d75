// Convolutions of volumes and their input gradients by Winograd's minimal filtering of each slice.
#pragma once

#include <cstdint>
#include <vector>

#include "packed_kernel.h"
#include "product.h"
#include "slices_cut.h"
#include "sliding.h"
#include "sliding_loops.h"
#include "winograd.h"
#include "winograd_tiles.h"

namespace cnn_jax {

class WinogradSliceProducts {
 public:
  explicit WinogradSliceProducts(const Configuration& configuration);

  int64_t pieces() const { return cut_.pieces(); }

  void run(const float* given, const float* weights, float* result, const ForEach& for_each,
           const Finishing& finish) const;

 private:
  int64_t depth() const { return s_.window[0]; }

  void pack(const float* weights, int64_t slice, int64_t first, int64_t past, float* packed) const;
  void transform(Square window, int64_t row, int64_t slice, int64_t first, int64_t past,
                 float* packed) const;
  void run(int64_t piece, const float* given, const float* packed, float* result,
           const Finishing& finish) const;
  void multiply(const std::vector<WindowRow>& met, int64_t count, const float* packed,
                float* sums) const;

  const Sliding s_;
  const KernelMatrices matrices_;
  const int64_t from_, to_;  // channels
  const PackedKernel kernel_;
  const WinogradTiles tiles_;
  const SlicesCut cut_;
};

}  // namespace cnn_jax
