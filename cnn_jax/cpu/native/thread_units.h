// Matrix units set up for the calling thread.
#pragma once

#include "matrix_units.h"

namespace cnn_jax {

class ThreadUnits {
 public:
  explicit ThreadUnits(const MatrixUnitLoops& loops) : loops_(loops) { loops_.begin(); }
  ~ThreadUnits() { loops_.end(); }
  ThreadUnits(const ThreadUnits&) = delete;
  ThreadUnits& operator=(const ThreadUnits&) = delete;

 private:
  const MatrixUnitLoops& loops_;
};

}  // namespace cnn_jax
