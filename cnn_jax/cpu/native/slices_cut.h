// How the work on the slices of volumes is shared out.
#pragma once

#include <algorithm>
#include <cstdint>

#include "sliding.h"
#include "winograd_tiles.h"

namespace cnn_jax {

// Some tiles of some neighbouring slices of positions, in all images.
struct SlicesPiece {
  int64_t first_tile, past_tile, first_slice, past_slice;
};

// How doesn't depend on the number of threads, so that sums are the same with any.
class SlicesCut {
 public:
  // So many tiles are taken together at most.
  SlicesCut(const Sliding& sliding, const WinogradTiles& tiles, int64_t most)
      : tiles_(tiles.count),
        slices_(sliding.result[0]),
        block_(divided_up(tiles_, divided_up(tiles_, most))),
        blocks_(divided_up(tiles_, block_)),
        ranges_(std::clamp<int64_t>(divided_up(kPieces, blocks_), 1,
                                    std::max<int64_t>(1, slices_ / kFewestSlices))) {}

  int64_t block() const { return block_; }  // tiles of a piece, at the most
  int64_t pieces() const { return blocks_ * ranges_; }

  SlicesPiece piece(int64_t number) const {
    const int64_t tile = number / ranges_ * block_, range = number % ranges_;
    return {tile, std::min(tiles_, tile + block_), range * slices_ / ranges_,
            (range + 1) * slices_ / ranges_};
  }

 private:
  static constexpr int64_t kPieces = 8;        // at least, if they can be had
  static constexpr int64_t kFewestSlices = 3;  // the first ones need others before them

  const int64_t tiles_, slices_, block_, blocks_, ranges_;
};

}  // namespace cnn_jax
