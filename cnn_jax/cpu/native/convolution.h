// Runs one convolution on the caller's arrays.
#pragma once

#include <string>
#include <vector>

#include "configuration.h"

namespace cnn_jax {

enum class Support { kNone = 0, kOwn = 1, kGeneral = 2 };

// Whether oneDNN has a kernel, and whether only its general one; makes and keeps the primitives, so
// that a first run finds them.
Support supported(const std::vector<int64_t>& numbers, std::string* why);

struct Arrays {
  void* source;
  void* weights;
  void* destination;
};

// Reads two of the arrays and writes the one that the kind names. Throws on failure.
void run(const std::vector<int64_t>& numbers, const Configuration& configuration,
         const Arrays& arrays);

}  // namespace cnn_jax
