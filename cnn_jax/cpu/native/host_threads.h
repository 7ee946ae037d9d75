// Work shared with the threads of XLA's own pool, which are awake while a program runs.
#pragma once

#include <cstdint>
#include <functional>

#include "xla/ffi/api/ffi.h"

namespace cnn_jax {

// Calls `body` with each number below `count`; a thread that is free takes the next.
// What a call throws is thrown again when all have ended.
void for_each(xla::ffi::ThreadPool& pool, int64_t count, const std::function<void(int64_t)>& body);

}  // namespace cnn_jax
