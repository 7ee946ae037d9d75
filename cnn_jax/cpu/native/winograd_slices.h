// Convolutions of volumes, and their gradients, by Winograd's minimal filtering of each slice: of 3x3
// windows of any depth. A slice is transformed once for all slices of the window.
#pragma once

#include "convolution.h"
#include "winograd.h"

namespace cnn_jax {

// Throws dnnl::error where it can't be computed so.
void refuse_winograd_slices(const Configuration& configuration);

// How many pieces the work is cut into, a kernel gradient apart.
int64_t winograd_slices_pieces(const Configuration& configuration);

// Where the pixels of the result lie one after the other, `finish` may work on those of each piece.
// Throws on failure.
void run_winograd_slices(const Configuration& configuration, const Arrays& arrays,
                         const ForEach& for_each, const Finishing& finish = {});

}  // namespace cnn_jax
