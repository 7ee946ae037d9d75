// Strided input gradients of few channels: products of whole rows with the kernel's, added up where they
// meet.
#pragma once

#include "convolution.h"
#include "winograd.h"

namespace cnn_jax {

// Throws dnnl::error where it can't be computed so.
void refuse_strided_gradient(const Configuration& configuration);

// How many pieces the work is cut into.
int64_t strided_gradient_pieces(const Configuration& configuration);

// Where the pixels of the result lie one after the other, `finish` may work on those of each piece.
// Throws on failure.
void run_strided_gradient(const Configuration& configuration, const Arrays& arrays,
                          const ForEach& for_each, const Finishing& finish);

}  // namespace cnn_jax
