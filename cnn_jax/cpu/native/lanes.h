// Several neighbouring numbers computed with at once, in float32 whatever they are stored as.
#pragma once

#include <cstdint>
#include <cstring>

#include "widest.h"

namespace cnn_jax {

struct Bfloat16 {
  uint16_t bits;
};

CNN_JAX_INLINE float widened(Bfloat16 number) {
  const uint32_t bits = static_cast<uint32_t>(number.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// To the nearest number of bfloat16, to the even one of two.
CNN_JAX_INLINE Bfloat16 narrowed(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t nearest = bits + 0x7fff + ((bits >> 16) & 1);
  return {static_cast<uint16_t>((value == value ? nearest : bits | 0x400000) >> 16)};
}

// The vectors of each length: the compilers convert those of a length they know at once.
template <int kLanes>
struct Vectors;

#define CNN_JAX_VECTORS(lanes)                                       \
  template <>                                                        \
  struct Vectors<lanes> {                                            \
    typedef float Float __attribute__((vector_size(4 * lanes)));     \
    typedef int32_t Int __attribute__((vector_size(4 * lanes)));     \
    typedef uint32_t Bits __attribute__((vector_size(4 * lanes)));   \
    typedef uint16_t Half __attribute__((vector_size(2 * lanes)));   \
    static CNN_JAX_INLINE Bits wide(Half halves) {                   \
      return __builtin_convertvector(halves, Bits);                  \
    }                                                                \
    static CNN_JAX_INLINE Half low_halves(Bits bits) {               \
      return __builtin_convertvector(bits, Half);                    \
    }                                                                \
  };
CNN_JAX_VECTORS(4)
CNN_JAX_VECTORS(8)
CNN_JAX_VECTORS(16)
#undef CNN_JAX_VECTORS

template <int kLanes>
struct Lanes : Vectors<kLanes> {
  using typename Vectors<kLanes>::Float;
  using typename Vectors<kLanes>::Bits;
  using typename Vectors<kLanes>::Half;

  static CNN_JAX_INLINE Float load(const float* from) {
    Float values;
    std::memcpy(&values, from, sizeof(values));
    return values;
  }

  static CNN_JAX_INLINE Float load(const Bfloat16* from) {
    Half halves;
    std::memcpy(&halves, from, sizeof(halves));
    return (Float)(Vectors<kLanes>::wide(halves) << 16);
  }

  static CNN_JAX_INLINE void store(Float values, float* to) {
    std::memcpy(to, &values, sizeof(values));
  }

  // Cuts off what bfloat16 has no place for.
  static CNN_JAX_INLINE void store(Float values, Bfloat16* to) {
    const Half halves = Vectors<kLanes>::low_halves((Bits)values >> 16);
    std::memcpy(to, &halves, sizeof(halves));
  }

  // As the type of what is pointed to would hold them.
  static CNN_JAX_INLINE Float rounded(Float values, const float*) { return values; }

  static CNN_JAX_INLINE Float rounded(Float values, const Bfloat16*) {
    const Bits bits = (Bits)values;
    const Bits nearest = (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
    return values == values ? (Float)nearest : values;
  }
};

}  // namespace cnn_jax
