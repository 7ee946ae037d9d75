// Results that are too large to stay in the caches.
#pragma once

#include <cstdint>

#include "sliding.h"

namespace cnn_jax {

// So many bytes of a result are still in the caches when it is read.
int64_t kept_in_caches();

// Whether a result with so many channels is best written to memory at once: what lies there is not
// fetched first, and leaves its place in the caches to what is read. Only where vectors of a kernel's
// 16 numbers are whole, and at their addresses.
bool stored_past_caches(const Sliding& sliding, int64_t channels, Type type, const void* result);

}  // namespace cnn_jax
