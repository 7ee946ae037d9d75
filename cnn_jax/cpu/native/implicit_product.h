// Convolutions and input gradients as one matrix product, of the windows with the kernel, whose
// windows are not copied: their rows are taken from the picture where they lie.
#pragma once

#include "convolution.h"
#include "winograd.h"

namespace cnn_jax {

// Throws dnnl::error where it can't be computed so.
void refuse_implicit_product(const Configuration& configuration);

// How many pieces the work is cut into.
int64_t implicit_product_pieces(const Configuration& configuration);

// Where the pixels of the result lie in the order in which they are computed, `finish` may work on
// those of each piece. Throws on failure.
void run_implicit_product(const Configuration& configuration, const Arrays& arrays,
                          const ForEach& for_each, const Finishing& finish = {});

}  // namespace cnn_jax
