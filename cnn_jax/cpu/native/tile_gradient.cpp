#include "tile_gradient.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <vector>

#include "gapped_line.h"
#include "matrix_units.h"
#include "thread_units.h"
#include "threads.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr int64_t kVector = 16;
constexpr int64_t kLine = 32;  // numbers that are fetched at once

// Measured. At most so many places are taken together: their numbers of the gradient and of so many
// of the picture's channels, and the sums of these, stay in a core's nearest caches.
constexpr int64_t kMostPlaces = 1024, kFewestPlaces = 256;
constexpr int64_t kMostGradients = int64_t{512} << 10;
constexpr int64_t kMostRows = 512;
constexpr int64_t kMostSums = int64_t{160} << 10;
// Further elements would have more places turned than are multiplied.
constexpr int64_t kFurthest = int64_t{16} << 10;

// How many pieces of work there are at least, if they can be had.
constexpr int64_t kPieces = 8;
constexpr int64_t kMostNumbers = int64_t{16} << 20;  // of all parts

GappedLine line_of(const Configuration& c) {
  const Sizes input(c.input, 1), output(c.output, 1), window(c.window, 1), stride(c.stride, 1);
  const Sizes dilation(c.dilation, 1), low(c.padding_low, 0);
  std::array<LineAxis, 3> axes;
  for (int axis = 0; axis < 3; ++axis) {
    axes[axis] = {output[axis], stride[axis], {}, input[axis]};
    for (int64_t element = 0; element < window[axis]; ++element) {
      axes[axis].shifts.push_back(element * dilation[axis] - low[axis]);
    }
  }
  return GappedLine(c.batch, axes);
}

int64_t filled_up(int64_t count, int64_t step) { return divided_up(count, step) * step; }

// The line's places are cut into parts, and the picture's channels into blocks. How doesn't depend
// on the number of threads, so that sums are the same with any.
struct Cut {
  explicit Cut(const Configuration& c, const GappedLine& line)
      : elements(Sizes(c.window, 1).product()),
        in(c.in_channels),
        out(c.out_channels),
        rows(filled_up(in, kRowsAtOnce)),
        together(filled_up(std::clamp(kMostGradients / out, kFewestPlaces, kMostPlaces),
                           kPositionsAtOnce)),
        total(divided_up(line.length(), together)) {
    const int64_t tiles = rows / kRowsAtOnce;
    const int64_t most = std::max<int64_t>(1, kMostNumbers / size());
    const int64_t wanted = std::max(divided_up(size(), kMostSums), divided_up(rows, kMostRows));
    parts = std::clamp<int64_t>(divided_up(kPieces, std::min(wanted, tiles)), 1,
                                std::min(total, most));
    blocks = std::clamp(std::max(wanted, kPieces / parts), int64_t{1}, tiles);
  }

  int64_t size() const { return elements * rows * out; }

  const int64_t elements, in, out;
  const int64_t rows;      // of a result, whole tiles of them
  const int64_t together;  // places of a piece
  const int64_t total;     // pieces of the line
  int64_t parts, blocks;
};

class TileSum {
 public:
  TileSum(const GappedLine& line, const Cut& cut, const Arrays& arrays,
          const PairProductLoops& pairs, const MatrixUnitLoops& loops, int64_t block)
      : line_(line),
        cut_(cut),
        pairs_(pairs),
        loops_(loops),
        picture_(static_cast<const Bfloat16*>(arrays.source)),
        gradient_(static_cast<const Bfloat16*>(arrays.destination)),
        row_(block * tiles() / cut.blocks * kRowsAtOnce),
        count_((block + 1) * tiles() / cut.blocks * kRowsAtOnce - row_),
        channels_(std::min(count_, cut.in - row_)),
        most_(cut.together + filled_up(line.reach(), kPositionsAtOnce)),
        // Rows that begin in different lines of a cache don't drive each other out.
        apart_(filled_up(most_, 2 * kLine) + kLine),
        pictures_(static_cast<size_t>(count_ * apart_) * sizeof(Bfloat16)),
        gradients_(static_cast<size_t>(cut.together / 2 * cut.out) * sizeof(NumberPair)),
        nothing_(static_cast<size_t>(std::max(channels_, cut.out))),
        rows_(static_cast<size_t>(most_)) {}

  // Adds up what lies in a part of the line; false where a number of the picture is not finite.
  bool run(int64_t part, float* result) {
    bool fresh = true, finite = true;
    const ThreadUnits units(loops_);
    const int64_t first = part * cut_.total / cut_.parts;
    const int64_t past = (part + 1) * cut_.total / cut_.parts;
    for (int64_t piece = first; piece < past && finite; ++piece, fresh = false) {
      const int64_t begin = piece * cut_.together;
      const int64_t count =
          filled_up(std::min(cut_.together, line_.length() - begin), kPositionsAtOnce);
      pair_gradients(begin, count);
      for (const Residue& residue : line_.residues) {
        finite = turn_pictures(residue, begin, count) && finite;
        elements_.clear();
        for (const Distance& at : residue.elements) {
          elements_.push_back({turned() + (at.distance - residue.least),
                               result + (at.element * cut_.rows + row_) * cut_.out});
        }
        loops_.sum({elements_.data(), static_cast<int64_t>(elements_.size()), paired(), apart_,
                    cut_.together / 2 * kVector, count, count_, cut_.out, fresh});
      }
    }
    return finite;
  }

 private:
  int64_t tiles() const { return cut_.rows / kRowsAtOnce; }
  Bfloat16* turned() const { return static_cast<Bfloat16*>(pictures_.data()); }
  NumberPair* paired() const { return static_cast<NumberPair*>(gradients_.data()); }

  void pair_gradients(int64_t begin, int64_t count) {
    const Grid whole = {line_.count, {{}, 1}, {{}, 0}, line_.count};
    line_.find_rows(whole, begin, begin + count, gradient_, cut_.out, nothing_.data(),
                    rows_.data());
    pairs_.pair(rows_.data(), count / 2, cut_.out, {paired(), cut_.together / 2 * kVector, kVector});
  }

  bool turn_pictures(const Residue& residue, int64_t begin, int64_t count) {
    const int64_t wide = filled_up(count + residue.most - residue.least, kPositionsAtOnce);
    const int64_t from = begin + residue.least;
    line_.find_rows(residue.picture, from, from + wide, picture_ + row_, cut_.in, nothing_.data(),
                    rows_.data());
    return loops_.turn(rows_.data(), wide, channels_, turned(), apart_);
  }

  const GappedLine& line_;
  const Cut& cut_;
  const PairProductLoops& pairs_;
  const MatrixUnitLoops& loops_;
  const Bfloat16* const picture_;
  const Bfloat16* const gradient_;
  const int64_t row_, count_, channels_;  // of the block
  const int64_t most_, apart_;            // places
  const Workspace pictures_, gradients_;
  const std::vector<Bfloat16> nothing_;  // what lies in gaps
  std::vector<const Bfloat16*> rows_;    // by place
  std::vector<MatrixElement> elements_;
};

}  // namespace

bool fits_matrix_units(const Configuration& c) {
  return matrix_unit_loops() != nullptr && pair_product_loops() != nullptr &&
         line_of(c).reach() <= kFurthest;
}

bool run_on_matrix_units(const Configuration& c, const Arrays& arrays, int threads) {
  const MatrixUnitLoops& loops = *matrix_unit_loops();
  const PairProductLoops& pairs = *pair_product_loops();
  const GappedLine line = line_of(c);
  const Cut cut(c, line);
  const auto result = static_cast<Bfloat16*>(arrays.weights);
  const Workspace sums(static_cast<size_t>(cut.parts * cut.size()) * sizeof(float));
  const auto parts = static_cast<float*>(sums.data());
  std::atomic<bool> finite = true;
  for_each(threads, cut.parts * cut.blocks, [&](int64_t number) {
    const int64_t part = number / cut.blocks;
    TileSum sum(line, cut, arrays, pairs, loops, number % cut.blocks);
    if (finite && !sum.run(part, parts + part * cut.size())) finite = false;
  });
  if (!finite) return false;
  const int64_t tiles = divided_up(cut.in, kRowsAtOnce);
  for_each(threads, cut.elements * tiles, [&](int64_t number) {
    const int64_t element = number / tiles, row = number % tiles * kRowsAtOnce;
    pairs.add(parts + (element * cut.rows + row) * cut.out, cut.parts, cut.size(),
              std::min(kRowsAtOnce, cut.in - row) * cut.out,
              result + (element * cut.in + row) * cut.out);
  });
  return true;
}

}  // namespace cnn_jax
