// Pictures as Winograd's method takes them: in tiles of the result, and patches that these are made of.
#pragma once

#include <algorithm>
#include <cstdint>

#include "configuration.h"
#include "winograd_transforms.h"

namespace cnn_jax {

// A batch of pictures in squares.
struct WinogradPictures {
  float* data;
  int64_t rows, columns, channels;
  int64_t picture, down, right;  // numbers from one to the next

  // Calls body(square) with that whose first pixel this is. Where it reaches over an edge, a row of
  // channels elsewhere stands for each pixel there.
  template <int kSide, typename Body>
  void square(int64_t number, int64_t top, int64_t left, float* elsewhere, const Body& body) const {
    float* const first = data + number * picture;
    if (top >= 0 && left >= 0 && top + kSide <= rows && left + kSide <= columns) {
      return body(Square{first + top * down + left * right, down, right});
    }
    LooseSquare<kSide> square;
    for (int i = 0; i < kSide; ++i) {
      const bool row = top + i >= 0 && top + i < rows;
      float* at = first + (top + i) * down + left * right;
      for (int j = 0; j < kSide; ++j, at += right) {
        const bool inside = row && left + j >= 0 && left + j < columns;
        square.of[i * kSide + j] = inside ? at : elsewhere;
      }
    }
    body(square);
  }
};

// The 2x2 tiles of all pictures of a result, one picture after the other.
struct WinogradTiles {
  int64_t height, width, rows, columns, count;

  WinogradTiles(int64_t batch, int64_t result_height, int64_t result_width)
      : height(result_height),
        width(result_width),
        rows(divided_up(height, kTile)),
        columns(divided_up(width, kTile)),
        count(batch * rows * columns) {}

  // Calls body(tile - begin, picture, top, left) for each tile of the range.
  template <typename Body>
  void each(int64_t begin, int64_t end, const Body& body) const {
    int64_t column = begin % columns, row = begin / columns % rows;
    int64_t picture = begin / columns / rows;
    for (int64_t tile = begin; tile < end; ++tile) {
      body(tile - begin, picture, row * kTile, column * kTile);
      if (++column < columns) continue;
      column = 0;
      if (++row < rows) continue;
      row = 0;
      ++picture;
    }
  }

  // Calls body(picture, pixel, pixels) for the pixels of a range of tiles, row by row of the pictures.
  template <typename Body>
  void each_row(int64_t begin, int64_t end, const Body& body) const {
    while (begin < end) {
      const int64_t column = begin % columns, row = begin / columns % rows;
      const int64_t picture = begin / columns / rows;
      const int64_t last = std::min(columns, column + end - begin);
      const int64_t left = column * kTile, right = std::min(width, last * kTile);
      for (int64_t y = row * kTile; y < std::min(height, (row + 1) * kTile); ++y) {
        body(picture, y * width + left, right - left);
      }
      begin += last - column;
    }
  }
};

}  // namespace cnn_jax
