// A kernel as matrices that whole rows of a window are multiplied by.
#pragma once

#include <cstdint>

#include "packed_kernel.h"
#include "sliding.h"

namespace cnn_jax {

// Of a convolution of one group whose window's rows have no gaps, or of its input gradient.
class RowKernel {
 public:
  RowKernel(const Configuration& configuration, const Sliding& sliding);

  int64_t inputs() const { return matrices_.length / sliding_.window[2]; }
  int64_t length() const { return matrices_.length; }
  int64_t columns() const { return matrices_.columns; }
  const PackedKernel& packed() const { return packed_; }

  // Numbers of the space that it takes to pack it.
  int64_t size() const { return packed_.size() + configuration_.weights_size(); }

  // Returns where in the space the packed kernel stands.
  const float* pack(const void* weights, float* space) const;

 private:
  const Configuration& configuration_;
  const Sliding& sliding_;
  const KernelMatrices matrices_;
  const PackedKernel packed_;
};

}  // namespace cnn_jax
