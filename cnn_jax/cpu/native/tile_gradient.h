// Kernel gradients in bfloat16 by the processor's matrix units: products of the picture, turned so
// that each channel's positions lie one after the other, with the gradient, for each element of the
// window.
#pragma once

#include "convolution.h"

namespace cnn_jax {

// Whether the processor has such units, and elements of the window reach no further than a core's
// caches.
bool fits_matrix_units(const Configuration& configuration);

// Returns false where the picture has numbers that are not finite: they would reach what they don't
// belong to. Throws on failure.
bool run_on_matrix_units(const Configuration& configuration, const Arrays& arrays, int threads);

}  // namespace cnn_jax
