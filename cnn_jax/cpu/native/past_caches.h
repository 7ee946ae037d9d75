// Results that are too large to stay in the caches.
#pragma once

#include <cstdint>

namespace cnn_jax {

// Whether an array of so many bytes is best written to memory at once: what lies there is not fetched
// first, and leaves its place in the caches to what is read. Its address suits whole vectors.
bool stored_past_caches(const void* result, int64_t bytes);

}  // namespace cnn_jax
