// The windows of some rows of a pooling, visited one after the other.
#pragma once

#include <cstdint>

#include "lanes.h"
#include "pooling.h"

namespace cnn_jax {

// One element of a window: its place along each axis, and how far it lies from the window's first
// in memory.
struct Tap {
  int64_t place[3];
  int64_t offset;
};

struct Taps {
  const Tap* first;
  int64_t count;

  const Tap* begin() const { return first; }
  const Tap* end() const { return first + count; }
};

// Rows begin to end along the first axis of one of the outer arrays. `bias` holds as many numbers
// as there are channels, negative zeros where there is none.
struct Rows {
  const Pooling& pooling;
  Taps taps;
  int64_t begin;
  int64_t end;
  const float* bias;
  bool each;  // whether every element is a window
};

// Sums of each channel's gradients, and room for those of one row, which are zeros.
struct ChannelSums {
  float* all;
  float* row;
};

// The smallest number of channels that the loops take.
constexpr int64_t kFewestChannels = 4;

// The loops, compiled for one kind of processor. The wide ones take bfloat16, and the rest of it in
// float32.
struct WindowLoops {
  void (*largest)(const Rows&, const float* input, float* output);
  void (*largest_bfloat16)(const Rows&, const Bfloat16* input, Bfloat16* output);
  void (*sums)(const Rows&, const float* input, float* output);
  void (*sums_bfloat16)(const Rows&, const Bfloat16* input, Bfloat16* output);
  void (*sums_wide)(const Rows&, const Bfloat16* input, float* output);

  // Write each window's gradient where the window's first largest element is, and zeros at its
  // others.
  void (*place)(const Rows&, const float* input, const float* gradient, float* result, ChannelSums);
  void (*place_bfloat16)(const Rows&, const Bfloat16* input, const Bfloat16* gradient,
                         Bfloat16* result, ChannelSums);
  void (*place_wide)(const Rows&, const Bfloat16* input, const float* gradient, float* result,
                     ChannelSums);

  // The same for windows that overlap: add to what is there.
  void (*add)(const Rows&, const float* input, const float* gradient, float* result, ChannelSums);
  void (*add_bfloat16)(const Rows&, const Bfloat16* input, const Bfloat16* gradient, float* result,
                       ChannelSums);
  void (*add_wide)(const Rows&, const Bfloat16* input, const float* gradient, float* result,
                   ChannelSums);

  void (*narrow)(const float* from, Bfloat16* to, int64_t count);
};

// Those for this processor.
const WindowLoops& window_loops();

}  // namespace cnn_jax
