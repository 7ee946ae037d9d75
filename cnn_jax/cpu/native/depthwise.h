// Convolutions of each channel by itself, and their gradients, on rows of the picture that stay in a
// core's nearest caches while all windows meet them.
#pragma once

#include "convolution.h"
#include "winograd.h"

namespace cnn_jax {

// Throws dnnl::error where it can't be computed so.
void refuse_depthwise(const Configuration& configuration);

// How many pieces the work is cut into.
int64_t depthwise_pieces(const Configuration& configuration);

// A kernel gradient apart, `finish` may work on the pixels of each piece where those of the result lie
// one after the other. Throws on failure.
void run_depthwise(const Configuration& configuration, const Arrays& arrays,
                   const ForEach& for_each, const Finishing& finish = {});

}  // namespace cnn_jax
