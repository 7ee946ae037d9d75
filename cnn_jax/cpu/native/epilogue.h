// Convolutions whose results are worked on while they are in a core's cache: a few images after the
// other, each by one thread, or by Winograd's method the tiles that it takes together.
#pragma once

#include <vector>

#include "convolution.h"

namespace cnn_jax {

// Throws dnnl::error where the convolution can't be computed so, or had better not be.
void refuse_epilogue(const std::vector<int64_t>& numbers, const Configuration& configuration);

// Throws on failure.
void run_with_epilogue(const std::vector<int64_t>& numbers, const Configuration& configuration,
                       const Arrays& arrays, const ForEach& for_each);

}  // namespace cnn_jax
