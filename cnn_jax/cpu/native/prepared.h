// Arrays as a convolution wants them, and the convolution run on them.
#pragma once

#include "primitives.h"
#include "workspace.h"

namespace cnn_jax {

// An operand in the layout that the convolution wants: the caller's memory, or a copy of it.
class Prepared {
 public:
  Prepared(const Operand& operand, void* data)
      : operand_(operand),
        given_(operand.given, engine(), data),
        copy_(operand.copied() ? operand.wanted.get_size() : 0),
        wanted_(operand.copied() ? dnnl::memory(operand.wanted, engine(), copy_.data()) : given_) {}

  void read() {
    if (operand_.copied()) reorder(given_, wanted_);
  }

  const dnnl::memory& wanted() const { return wanted_; }

  float* floats() const { return static_cast<float*>(wanted_.get_data_handle()); }

  void write_back() {
    if (operand_.copied()) reorder(wanted_, given_);
  }

 private:
  void reorder(dnnl::memory& from, dnnl::memory& to) { operand_.copy.execute(stream(), from, to); }

  const Operand& operand_;
  dnnl::memory given_;
  Workspace copy_;
  dnnl::memory wanted_;
};

// Runs oneDNN's kernel on the calling thread and those that it wakes.
void run_direct(const Primitives& primitives, Kind kind, const dnnl::memory& source,
                const dnnl::memory& weights, const dnnl::memory& destination);

}  // namespace cnn_jax
