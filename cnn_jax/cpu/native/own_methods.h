// The methods that need nothing of oneDNN, in one table.
#pragma once

#include "convolution.h"
#include "winograd.h"

namespace cnn_jax {

struct OwnMethod {
  // Throws dnnl::error where it can't compute the convolution.
  void (*refuse)(const Configuration&);

  // How many pieces the work is cut into. Null where its pieces are not of pixels.
  int64_t (*pieces)(const Configuration&);

  // `finish` may work on the pixels of each piece, where those of the result lie one after the other.
  // Throws on failure.
  void (*run)(const Configuration&, const Arrays&, const ForEach&, const Finishing& finish);
};

// Null for oneDNN's own kernels and for Winograd's method in the plane, which is made of its products.
const OwnMethod* own_method(Method method);

}  // namespace cnn_jax
