#include "planar_rows.h"

#include <algorithm>

#include "numbers.h"

namespace cnn_jax {
namespace {

// The last of a row's positions are computed with as many as fill a vector.
constexpr int64_t kFilled = 16;

}  // namespace

void split(const PlanarLoops& loops, const PixelsToSplit& p, int64_t step) {
  if (p.channels <= kMostPlanes && step == p.channels) return loops.split(p);
  for (int64_t channel = 0; channel < p.channels; ++channel) {
    for (int64_t i = 0; i < p.count; ++i) {
      p.to[channel * p.plane + i] = number_at(p.from, i * step + channel, p.type);
    }
  }
}

PlanarRows::PlanarRows(const Sliding& s, const PlanarLoops& loops, Type type, const void* given,
                       int64_t channels, int64_t positions)
    : sliding_(s),
      loops_(loops),
      type_(type),
      given_(static_cast<const char*>(given)),
      channels_(channels),
      places_(s.length(2, positions)),
      each_(divided_up(places_, s.stride[2]) + kFilled),
      plane_(each_ * s.stride[2]) {}

void PlanarRows::copy(const Line& line, int64_t first, float* to) const {
  const Sliding& s = sliding_;
  const Pixels there = s.pixels(first, places_);
  std::fill_n(to, row(), 0.0f);
  const int64_t from = s.given_line(line) + there.first * s.given_stride[2];
  const int64_t stride = s.stride[2], spread = s.spread[2];
  if (stride == 1 && spread == 1) {
    split(loops_, {given_ + from * bytes(type_), type_, there.count, channels_, to + there.place,
                   plane_}, s.given_stride[2]);
    return;
  }
  for (int64_t channel = 0; channel < channels_; ++channel, to += plane_) {
    for (int64_t i = 0, place = there.place; i < there.count; ++i, place += spread) {
      to[place % stride * each_ + place / stride] =
          number_at(given_, from + i * s.given_stride[2] + channel, type_);
    }
  }
}

}  // namespace cnn_jax
