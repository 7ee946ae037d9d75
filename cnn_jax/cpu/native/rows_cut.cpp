#include "rows_cut.h"

namespace cnn_jax {
namespace {

constexpr int64_t kPieces = 8;          // at least, if they can be had
constexpr int64_t kLargePieces = 16;    // the same where there's no need for small ones
constexpr int64_t kInCache = 64 << 10;  // numbers of a piece's result that are in the cache
constexpr int64_t kSegment = 128;       // positions of a long row that are taken together
// The sums of a piece are added to the others'.
constexpr int64_t kMostSums = 32;
constexpr int64_t kWorthASum = 500'000;             // multiply-adds
constexpr int64_t kMostNumbers = int64_t{4} << 20;  // of all pieces

}  // namespace

RowsCut::RowsCut(const Sliding& s) : length_(s.result[2]) {
  const bool alone = s.window[0] * s.window[1] == 1;
  positions = divided_up(length_, alone ? divided_up(length_, kSegment) : 1);
  segments_ = divided_up(length_, positions);
  total_ = s.batch * s.rows() * segments_;
}

RowsCut RowsCut::of_result(const Sliding& s, int64_t channels, bool followed) {
  RowsCut cut(s);
  // Whole pictures, or parts of them that are about alike, since each fetches its first rows anew.
  cut.per_picture_ = s.result[1] * cut.segments_;
  const int64_t in_cache = kInCache / (cut.positions * channels);
  const int64_t most =
      followed ? std::min(in_cache, cut.total_ / kPieces) : cut.total_ / kLargePieces;
  cut.per_cut_ = divided_up(cut.per_picture_, std::clamp<int64_t>(most, 1, cut.per_picture_));
  cut.pieces = cut.total_ / cut.per_picture_ * cut.per_cut_;
  return cut;
}

void RowsCut::each_piece(const ForEach& for_each, const Finishing& finish,
                         const std::function<void(int64_t)>& body) const {
  for_each(pieces, [&](int64_t piece) {
    body(piece);
    if (!finish) return;
    const int64_t first = position(begin(piece));
    finish(piece, first, position(begin(piece + 1)) - first);
  });
}

RowsCut RowsCut::of_sums(const Sliding& s, int64_t sums) {
  RowsCut cut(s);
  const int64_t most = std::min({kMostSums, cut.total_, kMostNumbers / sums});
  const double work = static_cast<double>(cut.total_) * static_cast<double>(cut.positions * sums);
  const auto wanted = static_cast<int64_t>(work / static_cast<double>(kWorthASum));
  cut.per_picture_ = cut.total_;
  cut.pieces = cut.per_cut_ = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, most));
  return cut;
}

}  // namespace cnn_jax
