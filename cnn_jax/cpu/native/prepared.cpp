#include "prepared.h"

namespace cnn_jax {

void run_direct(const Primitives& primitives, Kind kind, const dnnl::memory& source,
                const dnnl::memory& weights, const dnnl::memory& destination) {
  const Workspace scratch(primitives.scratchpad.get_size());
  const dnnl::memory scratchpad(primitives.scratchpad, engine(), scratch.data());
  const bool to_source = kind == Kind::kInputGradient, to_weights = kind == Kind::kKernelGradient;
  const bool to_destination = kind == Kind::kForward;
  primitives.convolution.execute(
      stream(), {{to_source ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, source},
                 {to_weights ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, weights},
                 {to_destination ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, destination},
                 {DNNL_ARG_SCRATCHPAD, scratchpad}});
}

}  // namespace cnn_jax
