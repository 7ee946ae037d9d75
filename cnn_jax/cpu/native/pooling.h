// Pooling of arrays whose channels come last, forward and by gradient.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "configuration.h"

namespace cnn_jax {

// How what is computed in float32 is held: every number in the type of the input; results, and the
// gradient that is given, in float32; or the result in the type of the input, rounded to that once.
enum class Precision : int64_t { kOfInput = 0, kWide = 1, kRoundedOnce = 2 };

enum class PoolingKind : int64_t { kLargest = 0, kSum = 1, kGradientOfLargest = 2 };

// An array x, [outer, size..., channels], and the windows on it. What is pooled is x, or x + bias, or
// the positive part of that.
struct Pooling {
  PoolingKind kind;
  Type type;
  bool biased;
  bool rectified;
  bool through;  // the gradient is that by x; else that by what is pooled
  bool summed;   // its sum over all but the channels is wanted, too
  Precision precision;
  int64_t divisor;  // of sums
  int64_t outer;
  int64_t channels;
  int64_t size[3];
  int64_t window[3];
  int64_t stride[3];
  int64_t dilation[3];
  int64_t low[3];    // padding before the first element
  int64_t count[3];  // windows along each axis

  int64_t input_size() const { return outer * size[0] * size[1] * size[2] * channels; }
  int64_t output_size() const { return outer * count[0] * count[1] * count[2] * channels; }
  Type result_type() const { return precision == Precision::kWide ? Type::kFloat32 : type; }
};

// Reads a configuration; returns false and says why where the numbers describe no pooling.
bool parse(const int64_t* numbers, size_t count, Pooling* pooling, std::string* why);

// Runs body(i) for each i below a number, on several threads or one after the other.
using ForEach = std::function<void(int64_t, const std::function<void(int64_t)>&)>;

// `gradient` and `sums` are null but where they are meant. Forward, `result` is the output; else
// it is the gradient of the input.
struct PoolingArrays {
  const void* input;
  const void* bias;
  const void* gradient;
  void* result;
  float* sums;
};

// The bias as the loops want it: in float32, and what changes no number where there is none.
std::vector<float> bias_of(const Pooling& pooling, const void* bias);

void run(const Pooling& pooling, const PoolingArrays& arrays, const ForEach& for_each);

}  // namespace cnn_jax
