// The inner loops of convolutions on padded rows, compiled for the processors whose registers hold a
// large tile of the result.
#pragma once

#include <cstdint>

#include "configuration.h"
#include "lanes.h"

namespace cnn_jax {

// Numbers computed with at once.
constexpr int64_t kLanes = 16;
// Channels that are taken together, in vectors.
constexpr int kMostVectors = 2;
// Positions of a tile, or elements of a window, that are taken together.
constexpr int kMostTogether = 8;

// Pixels whose channels are copied, as [block, pixel, width], the last of them followed by zeros.
struct PixelsToWiden {
  const void* from;
  Type type;
  int64_t count, from_step;  // from one pixel to the next
  int64_t channels;
  float* to;
  int64_t width, to_step, block;  // of a pixel; to the next one; to the next block
};

// Pixels whose channels are rounded to bfloat16.
struct PixelsToNarrow {
  const float* from;
  int64_t count, channels;
  Bfloat16* to;
  int64_t to_step;  // from one pixel to the next
};

// A row that some windows meet, and which of a window's rows that is.
struct WindowRow {
  // Made in place: a copy would wait for both halves to be written.
  WindowRow(const float* its_pixels, int64_t its_number)
      : pixels(its_pixels), number(its_number) {}

  const float* pixels;
  int64_t number;
};

// Neighbouring positions of a result's row, each channel the sum of its products with a kernel.
struct DepthwiseTile {
  const WindowRow* rows;
  int64_t count;         // of the rows
  int64_t elements;      // of the window that meet something in each
  int64_t window;        // of its elements, those of one row
  int64_t apart;         // numbers from one of them to the next
  int64_t step;          // numbers from one position to the next
  int64_t offset;        // of what the first element meets at the first position, in each row
  const float* weights;  // [rows of the window, its elements, whole vectors of channels]
  void* to;
  int64_t to_step;   // from one position to the next
  int64_t channels;  // that are written
  bool past_caches;  // the result goes to memory at once; only in whole vectors, at their addresses
};

// Some elements of a window, each the sum over the positions of a row of what it meets, times the
// gradient there.
struct DepthwiseSums {
  const float* met[kMostTogether];  // at the first position
  float* to[kMostTogether];         // is added to
  int64_t step;                     // numbers from one position to the next
  const float* gradient;
  int64_t gradient_step, count;
};

using DepthwiseProduct = void (*)(const DepthwiseTile&);
using DepthwiseSum = void (*)(const DepthwiseSums&);

struct SlidingLoops {
  void (*widen)(const PixelsToWiden&);
  void (*narrow)(const PixelsToNarrow&);

  // Each for so many positions or elements, and vectors of channels.
  DepthwiseProduct (*depthwise)(Type type, int positions, int vectors, int64_t step);
  DepthwiseSum (*depthwise_sum)(int elements, int vectors);

  // What went past the caches is in memory for all threads when it returns.
  void (*finish_stores)();
};

// Null on other processors.
const SlidingLoops* sliding_loops();

}  // namespace cnn_jax
