// Convolutions of 3x3 windows by Winograd's minimal filtering: 16 products where others take 36.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "configuration.h"
#include "onednn.h"
#include "winograd_tiles.h"

namespace cnn_jax {

// What is done with pixels of a result that are in the cache: with so many from one on, made by one
// part of the work.
using Finishing = std::function<void(int64_t part, int64_t pixel, int64_t pixels)>;

// One convolution. The source lies as [batch, height, width, channels], the destination alike; the
// weights lie as [3, 3, in, out], for an input gradient as [3, 3, out, in].
class Winograd {
 public:
  // Throws dnnl::error where the method doesn't apply, or oneDNN has no matrix product for it.
  Winograd(const Configuration& configuration, int threads);

  // Reads two of the arrays and writes the one that the kind names, a kernel gradient apart with
  // `finish` where there is one. Throws on failure.
  void run(float* source, float* weights, float* destination, const Finishing& finish = {}) const;

  int64_t parts() const;  // of the work, a kernel gradient apart

 private:
  void correlate(const WinogradPictures& given, float* kernel, const WinogradPictures& result,
                 const std::vector<int64_t>& padding, const Finishing& finish) const;
  void transform_kernel(float* kernel, int64_t from, int64_t to, float* transformed) const;
  void kernel_gradient(const WinogradPictures& source, const WinogradPictures& destination,
                       float* kernel) const;
  void restore_kernel(float* sums, int64_t parts, int64_t step, float* kernel) const;
  void multiply(float* a, float* b, float* c, void* scratchpad) const;

  const Configuration configuration_;
  const int threads_;
  int64_t tiles_;
  int64_t block_;  // tiles whose products are taken together
  dnnl::memory::desc a_, b_, c_, scratchpad_;
  dnnl::primitive product_;  // sixteen matrix products at once
};

}  // namespace cnn_jax
