// Convolutions of few channels, and their input gradients, as matrix products of whole rows of the
// windows with the kernel's.
#pragma once

#include "convolution.h"
#include "winograd.h"

namespace cnn_jax {

// Throws dnnl::error where it can't be computed so.
void refuse_narrow(const Configuration& configuration);

// How many pieces the work is cut into.
int64_t narrow_pieces(const Configuration& configuration);

// Where the pixels of the result lie one after the other, `finish` may work on those of each piece.
// Throws on failure.
void run_narrow(const Configuration& configuration, const Arrays& arrays, const ForEach& for_each,
                const Finishing& finish = {});

}  // namespace cnn_jax
