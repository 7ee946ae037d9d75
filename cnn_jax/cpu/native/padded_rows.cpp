#include "padded_rows.h"

#include <algorithm>

namespace cnn_jax {
namespace {

// Blocks a power of two apart would take each other's places in the cache.
constexpr int64_t kApart = 16;

}  // namespace

PaddedRows::PaddedRows(const Sliding& s, const SlidingLoops& loops, Type type, const void* given,
                       int64_t channels, int64_t width, int64_t positions)
    : sliding_(s),
      loops_(loops),
      type_(type),
      given_(static_cast<const char*>(given)),
      channels_(channels),
      width_(width),
      pixels_(s.length(2, positions)),
      block_(pixels_ * width + (channels > width ? kApart : 0)),
      row_(divided_up(channels, width) * block_) {}

void PaddedRows::copy(const Line& line, int64_t first, float* to) const {
  const Sliding& s = sliding_;
  const int64_t spread = s.spread[2];
  const Pixels there = s.pixels(first, pixels_);
  if (there.count == 0 || spread > 1) std::fill_n(to, row_, 0.0f);
  if (there.count == 0) return;
  const int64_t after = there.place + there.count;
  for (float* block = to; spread == 1 && block != to + row_; block += block_) {
    std::fill_n(block, there.place * width_, 0.0f);
    std::fill_n(block + after * width_, (pixels_ - after) * width_, 0.0f);
  }
  const int64_t at = s.given_line(line) + there.first * s.given_stride[2];
  loops_.widen({given_ + at * bytes(type_), type_, there.count, s.given_stride[2], channels_,
                to + there.place * width_, width_, spread * width_, block_});
}

}  // namespace cnn_jax
