#include "implicit_product.h"

#include <algorithm>
#include <vector>

#include "packed_kernel.h"
#include "primitives.h"
#include "shared_out.h"
#include "tile_product.h"
#include "tile_rows.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr int64_t kInCache = 128 << 10;       // numbers of the kernel that are used again and again
constexpr int64_t kMostPositions = 240;       // of a piece of work
constexpr int64_t kPieces = 8;                // at least, if they can be had
constexpr int64_t kMostParts = 64;            // beyond, the work is not in the products
constexpr int64_t kFewPositions = 256, kLargeKernel = 64 << 10;  // measured

// Positions [begin, end) of a part.
struct Piece {
  const Part* part;
  int64_t group, begin, end;
};

// How the positions are shared out doesn't depend on the number of threads, so that sums of them are
// the same with any.
std::vector<Piece> pieces_of(const std::vector<Part>& parts, int64_t groups, int64_t least) {
  int64_t all = 0;
  for (const Part& part : parts) all += part.positions * groups;
  const int64_t most = std::clamp(divided_up(all, kPieces), least, std::max(least, kMostPositions));
  std::vector<Piece> pieces;
  for (const Part& part : parts) {
    const int64_t cuts = divided_up(part.positions, most);
    for (int64_t group = 0; group < groups; ++group) {
      for (int64_t cut = 0; cut < cuts; ++cut) {
        pieces.push_back({&part, group, cut * part.positions / cuts,
                          (cut + 1) * part.positions / cuts});
      }
    }
  }
  return pieces;
}

// Whether the kernel is packed piece by piece, as it is multiplied: where positions are few, it would
// take as long to write it to memory, and read it again, as to multiply it.
bool is_packed_late(const std::vector<Part>& parts, const PackedKernel& kernel) {
  int64_t positions = 0;
  for (const Part& part : parts) positions += part.positions;
  return positions <= kFewPositions && kernel.size() >= kLargeKernel && kernel.blocks() > 1;
}

class ImplicitProduct {
 public:
  ImplicitProduct(const Correlation& correlation, const PackedKernel& kernel,
                  const RowProductLoops& loops)
      : correlation_(correlation),
        kernel_(kernel),
        loops_(loops),
        nothing_(static_cast<size_t>(correlation.length)) {}

  // Some blocks of columns at once, and of the window as many elements as leave the matrices in the
  // cache while the tiles of the piece pass.
  void run(const Piece& piece, const float* given, const float* packed, float* result) const {
    const auto elements = static_cast<int64_t>(piece.part->elements.size());
    const int64_t block = kernel_.widest_matrix();
    const int64_t wide = std::clamp<int64_t>(kInCache / block / std::max<int64_t>(1, elements), 1,
                                             kernel_.blocks());
    const int64_t deep = std::max<int64_t>(1, kInCache / (block * wide));
    const int64_t turns = std::max<int64_t>(1, divided_up(elements, deep));
    const int64_t rows = loops_.most_rows(kernel_.widest());
    const int64_t positions = piece.end - piece.begin, tiles = divided_up(positions, rows);
    TileRows tile(correlation_, loops_, nothing_.data(), divided_up(elements, turns));
    std::vector<const float*> matrices;
    for (int64_t first = 0; first < kernel_.blocks(); first += wide) {
      for (int64_t turn = 0; turn < turns; ++turn) {
        for (int64_t i = 0; i < tiles; ++i) {
          tile.move_to(*piece.part, piece.group, piece.begin + i * positions / tiles,
                       piece.begin + (i + 1) * positions / tiles, given, result);
          tile.find(turn * elements / turns, (turn + 1) * elements / turns);
          if (turn > 0 && tile.count() == 0) continue;
          const int64_t past = std::min(kernel_.blocks(), first + wide);
          for (int64_t number = first; number < past; ++number) {
            multiply(tile, number, turn == 0, matrices, [&](int64_t element) {
              return packed + kernel_.place(piece.group, number, element);
            });
          }
        }
      }
    }
  }

  // All positions, and a block of columns, whose matrices are packed when they are wanted.
  void run_block(const std::vector<Part>& parts, int64_t group, int64_t block, const float* given,
                 const float* weights, float* result) const {
    const int64_t size = kernel_.size(block), deep = std::max<int64_t>(1, kInCache / size);
    const int64_t of_window = kernel_.matrices() / correlation_.groups;
    const Workspace space(static_cast<size_t>(std::min(deep, of_window) * size) * sizeof(float));
    std::vector<const float*> packed(static_cast<size_t>(of_window)), matrices;
    for (const Part& part : parts) {
      const auto elements = static_cast<int64_t>(part.elements.size());
      const int64_t turns = std::max<int64_t>(1, divided_up(elements, deep));
      const int64_t tiles = divided_up(part.positions, loops_.most_rows(kernel_.wide(block)));
      TileRows tile(correlation_, loops_, nothing_.data(), divided_up(elements, turns));
      for (int64_t turn = 0; turn < turns; ++turn) {
        const int64_t first = turn * elements / turns, last = (turn + 1) * elements / turns;
        float* to = static_cast<float*>(space.data());
        for (int64_t i = first; i < last; ++i, to += size) {
          const int64_t element = part.elements[i];
          kernel_.pack_block(weights, group * of_window + element, block, to);
          packed[element] = to;
        }
        for (int64_t i = 0; i < tiles; ++i) {
          tile.move_to(part, group, i * part.positions / tiles, (i + 1) * part.positions / tiles,
                       given, result);
          tile.find(first, last);
          if (turn > 0 && tile.count() == 0) continue;
          multiply(tile, block, turn == 0, matrices, [&](int64_t at) { return packed[at]; });
        }
      }
    }
  }

 private:
  // `packed` is where an element's matrix stands.
  template <typename Packed>
  void multiply(const TileRows& tile, int64_t block, bool fresh,
                std::vector<const float*>& matrices, const Packed& packed) const {
    matrices.clear();
    for (int64_t i = 0; i < tile.count(); ++i) matrices.push_back(packed(tile.elements()[i]));
    loops_.product(kernel_.along, tile.size(), kernel_.wide(block))(
        {tile.rows(), matrices.data(), static_cast<int64_t>(matrices.size()), correlation_.length,
         tile.results(), kernel_.first_column(block), kernel_.columns(block), fresh});
  }

  const Correlation& correlation_;
  const PackedKernel& kernel_;
  const RowProductLoops& loops_;
  const std::vector<float> nothing_;  // a row of padding
};

}  // namespace

void refuse_implicit_product(const Configuration& c) {
  if (c.type == Type::kBfloat16) return refuse_tile_product(c);
  if (row_product_loops() == nullptr) refuse("it is slower on this processor");
  if (c.kind == Kind::kKernelGradient) refuse("it is a kernel gradient");
  if ((c.in_channels > 1 && c.source_strides[1] != 1) ||
      (c.out_channels > 1 && c.destination_strides[1] != 1)) {
    refuse("the channels are not the last axis");
  }
  double parts = 1;
  for (int64_t stride : c.stride) parts *= static_cast<double>(stride);
  if (c.kind == Kind::kInputGradient && parts > kMostParts) refuse("the stride is long");
}

int64_t implicit_product_pieces(const Configuration& c) {
  if (c.type == Type::kBfloat16) return tile_product_pieces(c);
  const Correlation correlation(c);
  const PackedKernel kernel(kernel_matrices(c));
  const int64_t rows = row_product_loops()->most_rows(kernel.widest());
  const std::vector<Part> parts = parts_of(correlation);
  if (is_packed_late(parts, kernel)) return 1;
  return static_cast<int64_t>(pieces_of(parts, c.groups, rows).size());
}

void run_implicit_product(const Configuration& c, const Arrays& arrays, const ForEach& for_each,
                          const Finishing& finish) {
  if (c.type == Type::kBfloat16) return run_tile_product(c, arrays, for_each, finish);
  refuse_implicit_product(c);
  const RowProductLoops& loops = *row_product_loops();
  const Correlation correlation(c);
  const PackedKernel kernel(kernel_matrices(c));
  const ImplicitProduct product(correlation, kernel, loops);
  const std::vector<Part> parts = parts_of(correlation);
  const ForEach each = shared_out(c.vector_work(), for_each);
  const bool forward = c.kind == Kind::kForward;
  const float* const weights = static_cast<const float*>(arrays.weights);
  const float* const given = static_cast<float*>(forward ? arrays.source : arrays.destination);
  float* const result = static_cast<float*>(forward ? arrays.destination : arrays.source);
  if (is_packed_late(parts, kernel)) {
    each(correlation.groups * kernel.blocks(), [&](int64_t number) {
      const int64_t group = number / kernel.blocks(), block = number % kernel.blocks();
      product.run_block(parts, group, block, given, weights, result);
    });
    if (finish) finish(0, 0, parts.front().positions);
    return;
  }
  const std::vector<Piece> pieces =
      pieces_of(parts, correlation.groups, loops.most_rows(kernel.widest()));
  const Workspace space(static_cast<size_t>(kernel.size()) * sizeof(float));
  float* const packed = static_cast<float*>(space.data());
  each(kernel.matrices(), [&](int64_t number) { kernel.pack(weights, number, packed); });
  each(static_cast<int64_t>(pieces.size()), [&](int64_t number) {
    const Piece& piece = pieces[number];
    product.run(piece, given, packed, result);
    if (finish) finish(number, piece.begin, piece.end - piece.begin);
  });
}

}  // namespace cnn_jax
