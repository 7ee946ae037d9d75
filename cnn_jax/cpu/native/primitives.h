// The oneDNN primitives of one convolution, and the store that keeps the latest of them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "configuration.h"
#include "onednn.h"
#include "winograd.h"

namespace cnn_jax {

// One array as the caller holds it and as the convolution wants it, with the copy between them.
struct Operand {
  dnnl::memory::desc given;
  dnnl::memory::desc wanted;
  dnnl::reorder copy;  // empty where both are the same

  bool copied() const { return static_cast<bool>(copy); }
};

struct Primitives {
  std::unique_ptr<const Winograd> winograd;  // or else:
  dnnl::primitive convolution;
  Operand source;
  Operand weights;
  Operand destination;
  dnnl::memory::desc scratchpad;
  // Whether this is oneDNN's kernel for what no other takes: matrix products, one for each image
  // and in three dimensions for each slice of it.
  bool general = false;
  // Whether it was written for processors with half as wide vectors.
  bool older = false;
};

const dnnl::engine& engine();
dnnl::stream& stream();  // the calling thread's

dnnl::memory::data_type element(Type type);

// Throws dnnl::error, as where oneDNN has no kernel.
[[noreturn]] void refuse(const char* why);

// oneDNN's reference kernels are plain loops, slower than XLA's: throws dnnl::error for one.
void refuse_reference(const std::string& implementation);

// Throws dnnl::error where oneDNN has no kernel.
std::shared_ptr<const Primitives> make_primitives(const Configuration& configuration,
                                                  int threads);

// As above, through a bounded store shared by all threads; `numbers` identify the configuration.
std::shared_ptr<const Primitives> find_primitives(const std::vector<int64_t>& numbers,
                                                  const Configuration& configuration, int threads);

void clear_primitives();

}  // namespace cnn_jax
