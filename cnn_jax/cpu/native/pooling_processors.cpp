#include "pooling_windows.h"

namespace cnn_jax {

// Each from pooling_windows.cpp, compiled for that kind of processor.
extern const WindowLoops any_processor;
#ifdef CNN_JAX_X86_LEVELS
extern const WindowLoops x86_64_v3;
extern const WindowLoops x86_64_v4;
#endif

const WindowLoops& window_loops() {
#ifdef CNN_JAX_X86_LEVELS
  static const WindowLoops& best = [] () -> const WindowLoops& {
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    return v3 ? (v4 ? x86_64_v4 : x86_64_v3) : any_processor;
  }();
  return best;
#else
  return any_processor;
#endif
}

}  // namespace cnn_jax
