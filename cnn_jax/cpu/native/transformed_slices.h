// Slices of volumes as Winograd's method multiplies them. Those that the next windows meet again are
// kept.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "slices_cut.h"
#include "sliding.h"
#include "sliding_loops.h"
#include "winograd_tiles.h"
#include "workspace.h"

namespace cnn_jax {

// A slice of an array whose axes lie so far from each other, of each image.
inline WinogradPictures slice_of(float* array, const int64_t* size, int64_t channels, int64_t image,
                                 const int64_t* strides, int64_t slice) {
  return {array + slice * strides[0], size[1], size[2], channels, image, strides[1], strides[2]};
}

// The patches of some tiles of all slices, each slice as [product, tile, channel].
class TransformedSlices {
 public:
  // Of a piece's tiles, which are at most `block`. What windows meet is kept until they have gone so
  // many positions further.
  TransformedSlices(const Sliding& sliding, const WinogradTiles& tiles, const SlicesPiece& piece,
                    int64_t block, const float* given, int64_t channels, int64_t further = 0)
      : sliding_(sliding),
        tiles_(tiles),
        piece_(piece),
        given_(const_cast<float*>(given)),
        channels_(channels),
        product_(block * channels),
        slices_(sliding.window[0] + further),
        space_(static_cast<size_t>(slices_ * kProducts * product_ + channels) * sizeof(float)),
        kept_(static_cast<float*>(space_.data())),
        nothing_(kept_ + slices_ * kProducts * product_) {
    std::fill_n(nothing_, channels, 0.0f);
  }

  // Those that windows meet which are on a slice of positions, and which slice of the window meets
  // each. Positions are taken in their order.
  const std::vector<WindowRow>& met(int64_t position) {
    const Elements elements = sliding_.met(0, position);
    const int64_t first = position - sliding_.low[0];
    met_.clear();
    for (int64_t element = elements.begin; element < elements.end; ++element) {
      const int64_t slice = first + element;
      float* const patches = kept_ + slice % slices_ * kProducts * product_;
      if (slice >= past_) transform(slice, patches);
      past_ = std::max(past_, slice + 1);
      met_.emplace_back(patches, element);
    }
    return met_;
  }

 private:
  void transform(int64_t slice, float* patches) const {
    const Sliding& s = sliding_;
    const WinogradPictures source =
        slice_of(given_, s.given, channels_, s.given_image, s.given_stride, slice);
    const auto body = [&](int64_t tile, int64_t image, int64_t top, int64_t left) {
      const Square transformed = {patches + tile * channels_, kPatch * product_, product_};
      source.square<kPatch>(
          image, top - s.low[1], left - s.low[2], nothing_,
          [&](const auto& patch) { transform_patch(patch, transformed, channels_); });
    };
    tiles_.each(piece_.first_tile, piece_.past_tile, body);
  }

  const Sliding& sliding_;
  const WinogradTiles& tiles_;
  const SlicesPiece piece_;
  float* const given_;
  const int64_t channels_, product_;  // numbers of a product's patches
  const int64_t slices_;             // that are kept
  const Workspace space_;
  float* const kept_;
  float* const nothing_;  // a pixel of padding
  int64_t past_ = 0;      // of the slices that have been transformed
  std::vector<WindowRow> met_;
};

}  // namespace cnn_jax
