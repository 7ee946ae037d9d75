// Kernel gradients of convolutions of few channels, on rows of which each channel has its own.
#pragma once

#include "convolution.h"

namespace cnn_jax {

// Throws dnnl::error where it can't be computed so.
void refuse_planar_sums(const Configuration& configuration);

// Throws on failure.
void run_planar_sums(const Configuration& configuration, const Arrays& arrays,
                     const ForEach& for_each);

}  // namespace cnn_jax
