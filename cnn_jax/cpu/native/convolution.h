// Runs one convolution on the caller's arrays.
#pragma once

#include <string>
#include <vector>

#include "configuration.h"
#include "pooling.h"

namespace cnn_jax {

enum class Support { kNone = 0, kOwn = 1, kGeneral = 2 };

// Whether oneDNN has a kernel, and whether only its general one or an older one; makes and keeps the
// primitives, so that a first run finds them.
Support supported(const std::vector<int64_t>& numbers, std::string* why);

// `further` is the bias, or the ReLU's result; it and `sums` are null but where they are meant.
struct Arrays {
  void* source;
  void* weights;
  void* destination;
  const void* further;
  float* sums;
};

// Reads two of the arrays and writes the one that the kind names. Throws on failure.
void run(const std::vector<int64_t>& numbers, const Configuration& configuration,
         const Arrays& arrays, const ForEach& for_each);

}  // namespace cnn_jax
