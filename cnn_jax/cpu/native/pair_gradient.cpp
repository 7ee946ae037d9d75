#include "pair_gradient.h"

#include <algorithm>
#include <vector>

#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr int64_t kVector = 16;

class PairSum {
 public:
  PairSum(const GradientCut& cut, const GradientShare& share, const Arrays& arrays,
          const PairProductLoops& loops)
      : cut_(cut),
        share_(share),
        picture_(static_cast<const Bfloat16*>(arrays.source)),
        gradient_(static_cast<const Bfloat16*>(arrays.destination)),
        loops_(loops),
        most_pairs_(divided_up(cut.together * cut.length, 2)),
        pictures_(static_cast<size_t>(most_pairs_ * share.channels) * sizeof(NumberPair)),
        gradients_(static_cast<size_t>(most_pairs_ * cut.out) * sizeof(NumberPair)),
        nothing_(static_cast<size_t>(std::max(share.channels, cut.out))),
        rows_(static_cast<size_t>(2 * most_pairs_)) {}

  void run(float* result) {
    bool fresh = true;
    for (int64_t begin = share_.first_piece; begin < share_.past_piece;) {
      const int64_t end = std::min(share_.past_piece, begin + cut_.together);
      const int64_t next = std::min(share_.past_piece, end + cut_.together);
      MemoryAhead gradient = {bytes_at(gradient_at(end)), bytes_at(gradient_at(next))};
      MemoryAhead picture = {bytes_at(picture_ + cut_.picture_before(end)),
                             bytes_at(picture_ + cut_.picture_before(next))};
      pair_gradients(begin, end);
      for (int64_t number = share_.first_element; number < share_.past_element; ++number) {
        pair_pictures(number, begin, end);
        loops_.sum({runs_.data(), static_cast<int64_t>(runs_.size()), most_pairs_ * kVector,
                    share_.channels, cut_.out,
                    result + (number * cut_.in + share_.channel) * cut_.out, fresh},
                   &gradient, &picture);
      }
      fresh = false;
      begin = end;
    }
  }

 private:
  static const char* bytes_at(const Bfloat16* row) { return reinterpret_cast<const char*>(row); }

  const Bfloat16* gradient_at(int64_t number) const {
    return gradient_ + cut_.position_of(number) * cut_.out;
  }

  // The pieces' positions follow one another, and are taken in twos.
  void pair_gradients(int64_t begin, int64_t end) {
    const Bfloat16** row = rows_.data();
    for (int64_t number = begin; number < end; ++number) {
      const Piece p = cut_.piece(number);
      const Bfloat16* from = gradient_at(number);
      for (int64_t at = p.place[2]; at < p.end; ++at, from += cut_.out) *row++ = from;
    }
    const auto pairs = static_cast<NumberPair*>(gradients_.data());
    loops_.pair(rows_.data(), filled_up(row), cut_.out,
                {pairs, most_pairs_ * kVector, kVector});
  }

  // How many pairs of rows there are before this one, the last filled up with nothing.
  int64_t filled_up(const Bfloat16** past) {
    const int64_t count = past - rows_.data();
    if (count % 2 != 0) *past = nothing_.data();
    return divided_up(count, 2);
  }

  // What an element of the window meets at them, but for pairs that meet nothing.
  void pair_pictures(int64_t element, int64_t begin, int64_t end) {
    const int64_t count = find_rows(element, begin, end);
    const auto gradients = static_cast<const NumberPair*>(gradients_.data());
    const auto pictures = static_cast<NumberPair*>(pictures_.data());
    runs_.clear();
    int64_t met = 0, before = -1;
    for (int64_t number = 0; number < count; ++number) {
      const Bfloat16 *first = rows_[2 * number], *second = rows_[2 * number + 1];
      if (first == nothing_.data() && second == nothing_.data()) continue;
      if (before != number - 1 || met == 0) {
        runs_.push_back({pictures + met * share_.channels, gradients + number * kVector, 0});
      }
      ++runs_.back().count;
      rows_[2 * met] = first;
      rows_[2 * met + 1] = second;
      ++met;
      before = number;
    }
    loops_.pair(rows_.data(), met, share_.channels, {pictures, kVector, share_.channels});
  }

  int64_t find_rows(int64_t element, int64_t begin, int64_t end) {
    const Sizes shifts = cut_.shifts_of(element);
    const int64_t step = cut_.stride[2], shift = shifts[2];
    const int64_t first = shift < 0 ? divided_up(-shift, step) : 0;
    const int64_t room = cut_.input[2] - shift;
    const int64_t last = room > 0 ? divided_up(room, step) : 0;
    const Bfloat16** row = rows_.data();
    for (int64_t number = begin; number < end; ++number) {
      const Piece p = cut_.piece(number);
      const int64_t line = cut_.row_of(p, shifts);
      const int64_t from = line < 0 ? p.end : std::clamp(first, p.place[2], p.end);
      const int64_t to = std::clamp(last, from, p.end);
      row = std::fill_n(row, from - p.place[2], nothing_.data());
      for (int64_t at = from; at < to; ++at) {
        const int64_t place = line * cut_.input[2] + at * step + shift;
        *row++ = picture_ + place * cut_.in + share_.channel;
      }
      row = std::fill_n(row, p.end - to, nothing_.data());
    }
    return filled_up(row);
  }

  const GradientCut& cut_;
  const GradientShare& share_;
  const Bfloat16* const picture_;
  const Bfloat16* const gradient_;
  const PairProductLoops& loops_;
  const int64_t most_pairs_;
  const Workspace pictures_, gradients_;
  const std::vector<Bfloat16> nothing_;  // what lies on padding
  std::vector<const Bfloat16*> rows_;    // by position
  std::vector<PairRun> runs_;
};

}  // namespace

void sum_pairs(const GradientCut& cut, const GradientShare& share, const Arrays& arrays,
               const PairProductLoops& loops, float* result) {
  PairSum(cut, share, arrays, loops).run(result);
}

}  // namespace cnn_jax
