// The inner loops of convolutions of few channels, each of which has rows of its own, compiled for the
// processors whose registers hold a large tile of the result.
#pragma once

#include <cstdint>

#include "configuration.h"

namespace cnn_jax {

// Channels that are taken together.
constexpr int kMostPlanes = 8;
// Vectors of neighbouring positions that are taken together.
constexpr int kMostVectorsOfPositions = 4;
// Elements of a window whose sums are taken together.
constexpr int kMostElementsOfSums = 3;

// Neighbouring pixels, of which each channel is copied to a row of its own.
struct PixelsToSplit {
  const void* from;
  Type type;
  int64_t count, channels;
  float* to;
  int64_t plane;  // numbers from one of the rows to the next
};

// Neighbouring positions of a result's row, with all channels.
struct PlanarTile {
  const float* const* rows;     // each of one channel, at the first position
  const float* const* weights;  // of each row: [elements, channels of the result]
  int64_t count;                // of the rows
  const int64_t* places;        // where in a row the elements lie
  int64_t elements;
  void* to;
  int64_t positions;
};

// A row of positions: what windows meet from the first on, and the gradient there.
struct PlanarRow {
  PlanarRow(const float* its_met, const float* its_gradient, int64_t its_positions)
      : met(its_met), gradient(its_gradient), positions(its_positions) {}

  const float *met, *gradient;
  int64_t positions;
};

// Neighbouring elements of a window, each the sums over some rows of positions of what it meets, times
// each channel of the gradient there.
struct PlanarSums {
  const PlanarRow* rows;
  int64_t count;          // of the rows
  int64_t offset;         // in what is met
  const int64_t* places;  // where in it the elements lie, from there on
  int64_t plane;          // numbers from one channel of the gradient to the next
  float* to;              // is added to: [elements, channels, sums of a vector]
};

using PlanarProduct = void (*)(const PlanarTile&);
using PlanarSum = void (*)(const PlanarSums&);

struct PlanarLoops {
  void (*split)(const PixelsToSplit&);

  // Each for so many channels of the result or the gradient, and vectors or elements.
  PlanarProduct (*product)(Type type, int channels, int vectors);
  PlanarSum (*sum)(int channels, int elements);
};

// Null on other processors.
const PlanarLoops* planar_loops();

}  // namespace cnn_jax
