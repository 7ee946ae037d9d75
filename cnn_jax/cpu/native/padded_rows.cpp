#include "padded_rows.h"

#include <algorithm>

namespace cnn_jax {
namespace {

constexpr Line kNone = {-1, -1, -1};
// Blocks a power of two apart would take each other's places in the cache.
constexpr int64_t kApart = 16;

// Pixels that windows at so many positions meet along a row.
int64_t length_of(const Sliding& s, int64_t positions) {
  return (positions - 1) * s.stride[2] + s.reach(2);
}

}  // namespace

double PaddedRows::size(const Sliding& s, int64_t channels, int64_t width, int64_t positions) {
  double numbers = static_cast<double>(divided_up(channels, width) * width);
  for (int64_t factor : {length_of(s, positions), s.window[0], s.reach(1)}) {
    numbers *= static_cast<double>(factor);
  }
  return numbers;
}

PaddedRows::PaddedRows(const Sliding& s, const SlidingLoops& loops, Type type, const void* given,
                       int64_t channels, int64_t width, int64_t positions)
    : sliding_(s),
      loops_(loops),
      type_(type),
      given_(static_cast<const char*>(given)),
      channels_(channels),
      width_(width),
      kept_each_(s.reach(1)),
      pixels_(length_of(s, positions)),
      block_(pixels_ * width + (channels > width ? kApart : 0)),
      row_(divided_up(channels, width) * block_),
      space_(static_cast<size_t>(s.window[0] * kept_each_ * row_) * sizeof(float)),
      kept_(static_cast<size_t>(s.window[0] * kept_each_), Kept{kNone, 0}) {}

const std::vector<WindowRow>& PaddedRows::met(int64_t row, int64_t first, int64_t positions) {
  const Sliding& s = sliding_;
  const int64_t from = first * s.stride[2] - s.low[2];
  met_.clear();
  s.each_line(row, [&](const Line& line, int64_t i, int64_t j) {
    // Those that one window meets have places of their own.
    const int64_t at = i * kept_each_ + line.line * s.spread[1] % kept_each_;
    float* const pixels = static_cast<float*>(space_.data()) + at * row_;
    if (!(kept_[at].line == line && kept_[at].first == from)) {
      copy(line, from, length_of(s, positions), pixels);
      kept_[at] = {line, from};
    }
    met_.push_back({pixels, i * s.window[1] + j});
  });
  return met_;
}

void PaddedRows::copy(const Line& line, int64_t first, int64_t count, float* to) {
  const Sliding& s = sliding_;
  const int64_t spread = s.spread[2];
  const int64_t begin = divided_up(std::max<int64_t>(first, 0), spread);
  const int64_t end = std::clamp(divided_up(std::max<int64_t>(first + count, 0), spread), begin,
                                 std::max(begin, s.given[2]));
  if (begin == end || spread > 1) std::fill_n(to, row_, 0.0f);
  if (begin == end) return;
  const int64_t before = begin - first, after = end - first;
  for (float* block = to; spread == 1 && block != to + row_; block += block_) {
    std::fill_n(block, before * width_, 0.0f);
    std::fill_n(block + after * width_, (count - after) * width_, 0.0f);
  }
  const int64_t at = s.given_line(line) + begin * s.given_stride[2];
  loops_.widen({given_ + at * bytes(type_), type_, end - begin, s.given_stride[2], channels_,
                to + (begin * spread - first) * width_, width_, spread * width_, block_});
}

}  // namespace cnn_jax
