// Convolutions and input gradients in bfloat16 by the processor's matrix units: products of the
// positions' rows of channels with the kernel, for each element of the window.
#pragma once

#include "convolution.h"
#include "winograd.h"

namespace cnn_jax {

// Throws dnnl::error where it can't be computed so.
void refuse_tile_product(const Configuration& configuration);

// How many pieces the work is cut into.
int64_t tile_product_pieces(const Configuration& configuration);

// Where the pixels of the result lie in the order in which they are computed, `finish` may work on
// those of each piece. Throws on failure.
void run_tile_product(const Configuration& configuration, const Arrays& arrays,
                      const ForEach& for_each, const Finishing& finish = {});

}  // namespace cnn_jax
