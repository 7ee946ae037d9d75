// Kernel gradients as sums of outer products, of a pixel and the gradient at a position, which a
// core takes from its cache.
#pragma once

#include "convolution.h"

namespace cnn_jax {

// Throws dnnl::error where it can't be computed so.
void refuse_outer_products(const Configuration& configuration);

// Throws on failure.
void run_outer_products(const Configuration& configuration, const Arrays& arrays);

}  // namespace cnn_jax
