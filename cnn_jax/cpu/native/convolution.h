// Runs one convolution on the caller's arrays.
#pragma once

#include <string>
#include <vector>

#include "configuration.h"

namespace cnn_jax {

// Whether oneDNN has a kernel; makes and keeps its primitives, so that a first run finds them.
bool supported(const std::vector<int64_t>& numbers, std::string* why);

struct Arrays {
  void* source;
  void* weights;
  void* destination;
};

// Reads two of the arrays and writes the one that the kind names. Throws on failure.
void run(const std::vector<int64_t>& numbers, const Configuration& configuration,
         const Arrays& arrays);

}  // namespace cnn_jax
