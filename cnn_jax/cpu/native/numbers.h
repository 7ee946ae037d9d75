// Single numbers of either type.
#pragma once

#include <cstdint>

#include "configuration.h"
#include "lanes.h"

namespace cnn_jax {

inline float number_at(const void* array, int64_t at, Type type) {
  return type == Type::kFloat32 ? static_cast<const float*>(array)[at]
                                : widened(static_cast<const Bfloat16*>(array)[at]);
}

inline void put_number(float number, void* array, int64_t at, Type type) {
  if (type == Type::kFloat32) {
    static_cast<float*>(array)[at] = number;
  } else {
    static_cast<Bfloat16*>(array)[at] = narrowed(number);
  }
}

}  // namespace cnn_jax
