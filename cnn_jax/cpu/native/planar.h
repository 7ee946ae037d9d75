// Convolutions of few channels and all their gradients, on rows of which each channel has its own, so
// that vectors are of neighbouring positions.
#pragma once

#include "convolution.h"
#include "winograd.h"

namespace cnn_jax {

// Throws dnnl::error where it can't be computed so.
void refuse_planar(const Configuration& configuration);

// How many pieces the work is cut into.
int64_t planar_pieces(const Configuration& configuration);

// A kernel gradient apart, `finish` may work on the pixels of each piece where those of the result lie
// one after the other. Throws on failure.
void run_planar(const Configuration& configuration, const Arrays& arrays, const ForEach& for_each,
                const Finishing& finish = {});

}  // namespace cnn_jax
