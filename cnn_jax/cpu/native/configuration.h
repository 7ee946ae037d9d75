// The description of one convolution, as it crosses from Python: a flat list of integers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cnn_jax {

// What a configuration is written as; another one is of another version of the library.
constexpr int kConfigurationFormat = 11;

enum class Kind : int64_t { kForward = 0, kInputGradient = 1, kKernelGradient = 2 };
enum class Method : int64_t {
  kDirect = 0,
  kWinograd = 1,
  kOuterProducts = 2,
  kImplicitProduct = 3,
  kDepthwise = 4,
  kNarrow = 5,
  kPlanar = 6,
  kWinogradSlices = 7,
};

// What is computed of the result: the positive part of it and a bias, or of a gradient what a ReLU
// lets through, and the sums of that over all but the channels.
enum class After : int64_t { kNothing = 0, kRelu = 1, kThroughRelu = 2 };
enum class Type : int64_t { kFloat32 = 0, kBfloat16 = 1 };

constexpr int64_t bytes(Type type) { return type == Type::kFloat32 ? 4 : 2; }

constexpr int64_t divided_up(int64_t size, int64_t step) { return (size + step - 1) / step; }

// Sizes follow the forward convolution, whatever the kind: an input gradient writes `source`, a
// kernel gradient writes `weights`. Strides are in elements, in the logical order of each array:
// source and destination [batch, channels, *spatial], weights [group, out, in, *window].
struct Configuration {
  Kind kind;
  Method method;
  After after;
  Type type;
  int64_t groups;
  int64_t batch;
  int64_t in_channels;
  int64_t out_channels;
  std::vector<int64_t> input;
  std::vector<int64_t> output;
  std::vector<int64_t> window;
  std::vector<int64_t> stride;
  std::vector<int64_t> dilation;
  std::vector<int64_t> padding_low;
  std::vector<int64_t> padding_high;
  std::vector<int64_t> source_strides;
  std::vector<int64_t> weights_strides;
  std::vector<int64_t> destination_strides;

  int64_t source_size() const;
  int64_t weights_size() const;
  int64_t destination_size() const;
  int64_t channels_of_result() const;  // an input gradient's are those of the source
  int64_t images() const;   // those of each group counted
  int64_t work() const;     // what it takes oneDNN, in multiply-adds
  int64_t vector_work() const;  // without matrix units
  int64_t copying() const;  // what it takes to copy every window, likewise

 private:
  int64_t work_by(int64_t faster) const;  // than vectors
};

// Whether a picture fills its memory image by image, and pixel by pixel, each with all its channels.
bool has_channels_last(int64_t batch, int64_t channels, const std::vector<int64_t>& sizes,
                       const std::vector<int64_t>& strides);

// Reads a configuration. Where the numbers are not those of a convolution that is safe to hand to
// oneDNN, returns false and says why.
bool parse(const int64_t* numbers, size_t count, Configuration* configuration, std::string* why);

}  // namespace cnn_jax
