// Vectors as wide as the processor has, from one binary.
#pragma once

// The resolver that picks a version runs before a sanitizer is ready for it.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define CNN_JAX_WIDEST \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CNN_JAX_WIDEST
#endif

#define CNN_JAX_INLINE inline __attribute__((always_inline))
#define CNN_JAX_INLINE_LAMBDA __attribute__((always_inline))
