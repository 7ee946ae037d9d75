#include "matrix_units.h"
#include "outer_products.h"
#include "pair_products.h"
#include "planar_loops.h"
#include "pooling_windows.h"
#include "row_products.h"
#include "sliding_loops.h"
#include "spaced_products.h"

#ifdef CNN_JAX_X86_LEVELS
#include <cpuid.h>
#endif
#if defined(CNN_JAX_MATRIX_UNITS) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace cnn_jax {

// Each from pooling_windows.cpp, compiled for that kind of processor.
extern const WindowLoops any_processor;
#ifdef CNN_JAX_X86_LEVELS
extern const WindowLoops x86_64_v3;
extern const WindowLoops x86_64_v4;
extern const OuterProductLoops outer_products_x86_64_v4;  // from outer_products.cpp
extern const PairProductLoops pair_products_avx512_bf16;   // from pair_products.cpp
extern const PlanarLoops planar_x86_64_v4;                 // from planar_loops.cpp
extern const RowProductLoops row_products_x86_64_v4;       // from row_products.cpp
extern const SlidingLoops sliding_x86_64_v4;               // from sliding_loops.cpp
extern const SpacedProductLoops spaced_products_x86_64_v4;  // from spaced_products.cpp
#endif
#ifdef CNN_JAX_MATRIX_UNITS
extern const MatrixUnitLoops matrix_units_amx_bf16;  // from matrix_units.cpp
#endif

namespace {

enum class Level { kAny, kV3, kV4 };

[[maybe_unused]] Level level() {
#ifdef CNN_JAX_X86_LEVELS
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v3) return v4 ? Level::kV4 : Level::kV3;
#endif
  return Level::kAny;
}

#ifdef CNN_JAX_X86_LEVELS
// Whether there are products of bfloat16 pairs.
bool has_pairs() {
  unsigned a, b, c, d;
  return level() == Level::kV4 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 5 & 1) != 0;
}
#endif

#ifdef CNN_JAX_MATRIX_UNITS
// Whether there are matrix units for bfloat16, and the system lets the process use them when asked.
bool may_use_matrix_units() {
#ifdef __linux__
  constexpr long kRequest = 0x1023, kTileData = 18;  // of Linux
  unsigned a, b, c, d;
  if (level() != Level::kV4 || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const bool tiles = (d >> 24 & 1) != 0, bfloat16 = (d >> 22 & 1) != 0;
  return tiles && bfloat16 && has_pairs() && syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}
#endif

template <typename Loops>
[[maybe_unused]] const Loops* on_v4(const Loops& loops) {
  static const bool v4 = level() == Level::kV4;
  return v4 ? &loops : nullptr;
}

}  // namespace

const WindowLoops& window_loops() {
#ifdef CNN_JAX_X86_LEVELS
  static const Level best = level();
  if (best != Level::kAny) return best == Level::kV4 ? x86_64_v4 : x86_64_v3;
#endif
  return any_processor;
}

const OuterProductLoops* outer_product_loops() {
#ifdef CNN_JAX_X86_LEVELS
  return on_v4(outer_products_x86_64_v4);
#else
  return nullptr;
#endif
}

const PairProductLoops* pair_product_loops() {
#ifdef CNN_JAX_X86_LEVELS
  static const bool there = has_pairs();
  return there ? &pair_products_avx512_bf16 : nullptr;
#else
  return nullptr;
#endif
}

const MatrixUnitLoops* matrix_unit_loops() {
#ifdef CNN_JAX_MATRIX_UNITS
  static const bool there = may_use_matrix_units();
  return there ? &matrix_units_amx_bf16 : nullptr;
#else
  return nullptr;
#endif
}

const RowProductLoops* row_product_loops() {
#ifdef CNN_JAX_X86_LEVELS
  return on_v4(row_products_x86_64_v4);
#else
  return nullptr;
#endif
}

const PlanarLoops* planar_loops() {
#ifdef CNN_JAX_X86_LEVELS
  return on_v4(planar_x86_64_v4);
#else
  return nullptr;
#endif
}

const SlidingLoops* sliding_loops() {
#ifdef CNN_JAX_X86_LEVELS
  return on_v4(sliding_x86_64_v4);
#else
  return nullptr;
#endif
}

const SpacedProductLoops* spaced_product_loops() {
#ifdef CNN_JAX_X86_LEVELS
  return on_v4(spaced_products_x86_64_v4);
#else
  return nullptr;
#endif
}

}  // namespace cnn_jax
