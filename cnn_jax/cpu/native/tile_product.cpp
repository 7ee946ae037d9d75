#include "tile_product.h"

#include <algorithm>
#include <array>
#include <vector>

#include "gapped_line.h"
#include "matrix_units.h"
#include "primitives.h"
#include "shared_out.h"
#include "thread_units.h"
#include "tile_kernel.h"
#include "tile_rows.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

// Numbers of a piece's positions, which stay in a core's nearer caches; more where elements of the
// window reach so far that else most of them would belong to other pieces; and the most.
constexpr int64_t kInCache = 96 << 10, kMost = 512 << 10;
constexpr int64_t kFewestPositions = 64;
constexpr int64_t kPieces = 8;  // at least, if they can be had
// Pairs of a kernel that stays in the nearest cache while positions go over it.
constexpr int64_t kSmallKernel = 6 << 10;
constexpr int64_t kMostParts = 64;  // beyond, the work is not in the products
// Rows so long that they drive each other out are moved apart.
constexpr int64_t kLongRow = 256, kApart = 32;

int64_t filled_up(int64_t count, int64_t step) { return divided_up(count, step) * step; }

// Positions of a part of the result in one line.
struct TilePart {
  TilePart(const Correlation& c, const Part& given_part)
      : part(given_part), line(c.batch, axes(c, given_part)), results(grid(c, given_part)) {}

  static std::array<LineAxis, 3> axes(const Correlation& c, const Part& part) {
    std::array<LineAxis, 3> made;
    for (int axis = 0; axis < 3; ++axis) {
      const Phase& phase = *part.axes[axis];
      made[axis] = {phase.count, phase.step, phase.shifts, c.given[axis]};
    }
    return made;
  }

  static Grid grid(const Correlation& c, const Part& part) {
    Grid made = {{{}, 1}, {{}, 1}, {{}, 0}, {{}, 1}};
    for (int axis = 0; axis < 3; ++axis) {
      const Phase& phase = *part.axes[axis];
      made.count.of[axis] = phase.count;
      made.step.of[axis] = phase.apart;
      made.first.of[axis] = phase.first;
      made.size.of[axis] = c.made[axis];
    }
    return made;
  }

  const Part& part;
  const GappedLine line;
  const Grid results;
};

// Places [begin, end) of a part's line, and blocks of columns.
struct Piece {
  const TilePart* part;
  int64_t group, begin, end, first_block, past_block;
};

// Everything that follows from the sizes alone. How the work is cut doesn't depend on the number of
// threads.
class Cut {
 public:
  explicit Cut(const Configuration& c)
      : correlation(c), kernel(kernel_matrices(c)), parts_of_result_(parts_of(correlation)) {
    const int64_t depth = kernel.depth();
    apart = depth + (depth >= kLongRow ? kApart : 0);
    for (const Part& part : parts_of_result_) parts_.emplace_back(correlation, part);
    int64_t lines = 0;
    for (const TilePart& part : parts_) lines += part.line.length();
    for (const TilePart& part : parts_) {
      const int64_t length = part.line.length(), reach = part.line.reach();
      const int64_t wanted = std::max(kInCache / apart - reach, std::min(2 * reach, kMost / apart));
      const int64_t most =
          std::max(kFewestPositions, std::min(wanted, divided_up(lines, kPieces)));
      const int64_t cuts = divided_up(length, most);
      is_packed_late = is_packed_late && cuts == 1;
      for (int64_t cut = 0; cut < cuts; ++cut) {
        lines_.push_back({&part, cut * length / cuts, (cut + 1) * length / cuts});
      }
    }
    const auto pieces = static_cast<int64_t>(lines_.size()) * correlation.groups;
    runs_ = std::min(kernel.blocks(), divided_up(kPieces, pieces));
  }

  int64_t pieces() const {
    return static_cast<int64_t>(lines_.size()) * correlation.groups * runs_;
  }

  Piece piece(int64_t number) const {
    const int64_t run = number % runs_, group = number / runs_ % correlation.groups;
    const Places& places = lines_[number / runs_ / correlation.groups];
    return {places.part, group, places.begin, places.end, run * kernel.blocks() / runs_,
            (run + 1) * kernel.blocks() / runs_};
  }

  // Whether each piece has all of a result's columns.
  bool has_whole_rows() const { return runs_ == 1; }

  int64_t reach() const {
    int64_t most = 0;
    for (const TilePart& part : parts_) most = std::max(most, part.line.reach());
    return most;
  }

  const Correlation correlation;
  const TileKernel kernel;
  int64_t apart;  // numbers of a row, with those between rows
  // Whether the kernel is packed as it is multiplied: where each block is wanted once.
  bool is_packed_late = true;

 private:
  struct Places {
    const TilePart* part;
    int64_t begin, end;
  };

  const std::vector<Part> parts_of_result_;
  std::vector<TilePart> parts_;
  std::vector<Places> lines_;
  int64_t runs_;  // of blocks
};

class TileProduct {
 public:
  TileProduct(const Cut& cut, const MatrixUnitLoops& loops, const Arrays& arrays, bool forward)
      : cut_(cut),
        loops_(loops),
        given_(static_cast<const Bfloat16*>(forward ? arrays.source : arrays.destination)),
        weights_(static_cast<const Bfloat16*>(arrays.weights)),
        result_(static_cast<Bfloat16*>(forward ? arrays.destination : arrays.source)) {}

  // Which pixels of the result were made, where they lie in the order of the line.
  struct Pixels {
    int64_t first, count;
  };

  // `packed` is null where the kernel is packed late.
  Pixels run(const Piece& piece, const NumberPair* packed) const {
    const ThreadUnits units(loops_);
    const Correlation& c = cut_.correlation;
    const TilePart& part = *piece.part;
    const int64_t count = piece.end - piece.begin, filled = filled_up(count, kRowsAtOnce);
    std::vector<TileElement> elements(part.part.elements.size());
    std::vector<int64_t> numbers(elements.size());  // of the window

    const bool lies_there = part.line.is_picture() && c.length == cut_.kernel.depth() &&
                            piece.begin + filled <= part.line.length();
    const Workspace space(lies_there ? 0 : size_of(part, filled));
    int64_t apart = c.groups * c.length;
    if (lies_there) {
      elements[0].row = given_ + piece.begin * apart + piece.group * c.length;
      numbers[0] = part.part.elements[0];
    } else {
      apart = cut_.apart;
      gather(piece, filled, static_cast<Bfloat16*>(space.data()), elements, numbers);
    }

    std::vector<Bfloat16> nowhere(static_cast<size_t>(c.columns));
    std::vector<Bfloat16*> to(static_cast<size_t>(count));
    const int64_t columns = c.groups * c.columns;
    part.line.find_rows(part.results, piece.begin, piece.end, result_ + piece.group * c.columns,
                        columns, nowhere.data(), to.data());

    const auto made = static_cast<int64_t>(elements.size());
    const Workspace late(packed != nullptr ? 0 : size_of_packed(piece, made));
    const NumberPair* matrices = packed;
    if (packed == nullptr) {
      matrices = static_cast<NumberPair*>(late.data());
      pack(piece, numbers, static_cast<NumberPair*>(late.data()));
    }
    int64_t all = 0;
    for (int64_t block = piece.first_block; block < piece.past_block; ++block) {
      all += made * cut_.kernel.size(block);
    }
    const int64_t together = all <= kSmallKernel ? 2 * kRowsAtOnce : count;
    for (int64_t first = 0; first < count; first += together) {
      const NumberPair* next = matrices;
      for (int64_t block = piece.first_block; block < piece.past_block; ++block) {
        for (int64_t i = 0; i < made; ++i) {
          if (packed == nullptr) {
            elements[i].matrix = next;
            next += cut_.kernel.size(block);
          } else {
            elements[i].matrix = packed + cut_.kernel.place(piece.group, block, numbers[i]);
          }
        }
        loops_.product({elements.data(), made, apart, cut_.kernel.depth(), to.data(), first,
                        std::min(count, first + together), block * kMostAcross * kTileWide,
                        cut_.kernel.columns(block)});
      }
    }
    return pixels_of(to, nowhere.data(), columns);
  }

 private:
  size_t size_of(const TilePart& part, int64_t filled) const {
    int64_t rows = 0;
    for (const Residue& residue : part.line.residues) rows += filled + residue.most - residue.least;
    return static_cast<size_t>(rows * cut_.apart) * sizeof(Bfloat16);
  }

  size_t size_of_packed(const Piece& piece, int64_t elements) const {
    int64_t pairs = 0;
    for (int64_t block = piece.first_block; block < piece.past_block; ++block) {
      pairs += elements * cut_.kernel.size(block);
    }
    return static_cast<size_t>(pairs) * sizeof(NumberPair);
  }

  // Copies what the positions meet, with the padding, and finds the elements' rows.
  void gather(const Piece& piece, int64_t filled, Bfloat16* space,
              std::vector<TileElement>& elements, std::vector<int64_t>& numbers) const {
    const Correlation& c = cut_.correlation;
    const GappedLine& line = piece.part->line;
    const std::vector<Bfloat16> nothing(static_cast<size_t>(c.length));
    std::vector<const Bfloat16*> rows(static_cast<size_t>(filled + line.reach()));
    size_t number = 0;
    for (const Residue& residue : line.residues) {
      const int64_t wide = filled + residue.most - residue.least;
      const int64_t from = piece.begin + residue.least;
      line.find_rows(residue.picture, from, from + wide, given_ + piece.group * c.length,
                     c.groups * c.length, nothing.data(), rows.data());
      loops_.gather(rows.data(), wide, c.length, cut_.kernel.depth(), space, cut_.apart);
      for (const Distance& at : residue.elements) {
        elements[number].row = space + (at.distance - residue.least) * cut_.apart;
        numbers[number++] = piece.part->part.elements[at.element];
      }
      space += wide * cut_.apart;
    }
  }

  void pack(const Piece& piece, const std::vector<int64_t>& numbers, NumberPair* to) const {
    const int64_t before = piece.group * cut_.kernel.matrices() / cut_.correlation.groups;
    for (int64_t block = piece.first_block; block < piece.past_block; ++block) {
      for (int64_t number : numbers) {
        cut_.kernel.pack_block(loops_, weights_, before + number, block, to);
        to += cut_.kernel.size(block);
      }
    }
  }

  Pixels pixels_of(const std::vector<Bfloat16*>& to, const Bfloat16* nowhere,
                   int64_t columns) const {
    Pixels made = {0, 0};
    for (const Bfloat16* row : to) {
      if (row == nowhere) continue;
      if (made.count++ == 0) made.first = (row - result_) / columns;
    }
    return made;
  }

  const Cut& cut_;
  const MatrixUnitLoops& loops_;
  const Bfloat16* const given_;
  const Bfloat16* const weights_;
  Bfloat16* const result_;
};

}  // namespace

void refuse_tile_product(const Configuration& c) {
  if (matrix_unit_loops() == nullptr) refuse("the processor has no matrix units");
  if (c.kind == Kind::kKernelGradient || c.type != Type::kBfloat16) {
    refuse("it is not a bfloat16 convolution or its input gradient");
  }
  if (!has_channels_last(c.batch, c.in_channels, c.input, c.source_strides) ||
      !has_channels_last(c.batch, c.out_channels, c.output, c.destination_strides)) {
    refuse("the channels are not the last axis");
  }
  double parts = 1;
  for (int64_t stride : c.stride) parts *= static_cast<double>(stride);
  if (c.kind == Kind::kInputGradient && parts > kMostParts) refuse("the stride is long");
  const Cut cut(c);
  if (cut.reach() * cut.apart > kMost) refuse("elements of the window lie too far apart");
}

int64_t tile_product_pieces(const Configuration& c) {
  const Cut cut(c);
  return cut.has_whole_rows() ? cut.pieces() : 1;
}

void run_tile_product(const Configuration& c, const Arrays& arrays, const ForEach& for_each,
                      const Finishing& finish) {
  refuse_tile_product(c);
  const MatrixUnitLoops& loops = *matrix_unit_loops();
  const Cut cut(c);
  const ForEach each = shared_out(c.work(), for_each);
  const TileProduct product(cut, loops, arrays, c.kind == Kind::kForward);
  const TileKernel& kernel = cut.kernel;
  const Workspace space(cut.is_packed_late
                            ? 0
                            : static_cast<size_t>(kernel.size()) * sizeof(NumberPair));
  const auto packed = static_cast<NumberPair*>(space.data());
  if (!cut.is_packed_late) {
    const int64_t of_group = kernel.matrices() / c.groups;
    each(kernel.matrices() * kernel.blocks(), [&](int64_t number) {
      const int64_t matrix = number / kernel.blocks(), block = number % kernel.blocks();
      kernel.pack_block(loops, static_cast<const Bfloat16*>(arrays.weights), matrix, block,
                        packed + kernel.place(matrix / of_group, block, matrix % of_group));
    });
  }
  each(cut.pieces(), [&](int64_t number) {
    const auto made = product.run(cut.piece(number), cut.is_packed_late ? nullptr : packed);
    if (finish && cut.has_whole_rows()) finish(number, made.first, made.count);
  });
  if (finish && !cut.has_whole_rows()) {
    finish(0, 0, c.batch * cut.piece(0).part->line.count.product());
  }
}

}  // namespace cnn_jax
