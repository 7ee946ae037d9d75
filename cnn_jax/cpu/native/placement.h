// Where the threads of an OpenMP team run.
#pragma once

#include <sched.h>

namespace cnn_jax {

// Gives each thread of the calling thread's team a processor of its own while it exists.
//
// The team sleeps between calls, so that XLA's threads can work. Where the processors are few and
// busy, the system may wake a thread on the processor that woke it although another is idle, and
// the two take turns. Without effect unless the team has as many threads as there are processors.
class Placement {
 public:
  explicit Placement(int threads);
  ~Placement();
  Placement(const Placement&) = delete;
  Placement& operator=(const Placement&) = delete;

 private:
  cpu_set_t allowed_;
  int processor_ = -1;  // the one that the calling thread is kept on, if any
};

}  // namespace cnn_jax
