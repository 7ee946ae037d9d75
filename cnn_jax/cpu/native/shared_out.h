// Work on XLA's threads, where it is worth their waking.
#pragma once

#include <cstdint>

#include "product.h"

namespace cnn_jax {

// `for_each`, or for less work what goes through the numbers on the calling thread.
ForEach shared_out(int64_t multiply_adds, const ForEach& for_each);

}  // namespace cnn_jax
