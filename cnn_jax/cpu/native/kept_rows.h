// Rows that a window meets as it slides along a picture. Those that the next windows meet again are
// kept, in a core's nearest caches.
#pragma once

#include <cstdint>
#include <vector>

#include "sliding.h"
#include "sliding_loops.h"
#include "workspace.h"

namespace cnn_jax {

// `Rows` says how many numbers a row has, and copies it.
template <typename Rows>
class KeptRows {
 public:
  KeptRows(const Sliding& sliding, const Rows& rows)
      : sliding_(sliding),
        rows_(rows),
        kept_each_(sliding.reach(1)),
        space_(static_cast<size_t>(sliding.window[0] * kept_each_ * rows.row()) * sizeof(float)),
        kept_(static_cast<size_t>(sliding.window[0] * kept_each_), Kept{{-1, -1, -1}, 0}) {}

  // How many numbers they take.
  static double size(const Sliding& sliding, const Rows& rows) {
    return static_cast<double>(rows.row()) * static_cast<double>(sliding.window[0]) *
           static_cast<double>(sliding.reach(1));
  }

  // The rows that windows meet which are at some positions of a row, from `first` on, but for those
  // that are padding or nothing. The rows of positions are counted through all images.
  const std::vector<WindowRow>& met(int64_t row, int64_t first) {
    met_.clear();
    sliding_.each_line(row, [&](const Line& line, int64_t i, int64_t j) {
      // Those that one window meets have places of their own.
      const int64_t at = i * kept_each_ + line.line * sliding_.spread[1] % kept_each_;
      float* const pixels = static_cast<float*>(space_.data()) + at * rows_.row();
      if (!(kept_[at].line == line && kept_[at].first == first)) {
        rows_.copy(line, first, pixels);
        kept_[at] = {line, first};
      }
      met_.emplace_back(pixels, i * sliding_.window[1] + j);
    });
    return met_;
  }

 private:
  struct Kept {
    Line line;
    int64_t first;
  };

  const Sliding& sliding_;
  const Rows& rows_;
  const int64_t kept_each_;  // along the middle axis
  const Workspace space_;
  std::vector<Kept> kept_;
  std::vector<WindowRow> met_;
};

}  // namespace cnn_jax
