#include "outer_products.h"
#include "planar_loops.h"
#include "pooling_windows.h"
#include "row_products.h"
#include "sliding_loops.h"

namespace cnn_jax {

// Each from pooling_windows.cpp, compiled for that kind of processor.
extern const WindowLoops any_processor;
#ifdef CNN_JAX_X86_LEVELS
extern const WindowLoops x86_64_v3;
extern const WindowLoops x86_64_v4;
extern const OuterProductLoops outer_products_x86_64_v4;  // from outer_products.cpp
extern const PlanarLoops planar_x86_64_v4;                 // from planar_loops.cpp
extern const RowProductLoops row_products_x86_64_v4;       // from row_products.cpp
extern const SlidingLoops sliding_x86_64_v4;               // from sliding_loops.cpp
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

}  // namespace cnn_jax
