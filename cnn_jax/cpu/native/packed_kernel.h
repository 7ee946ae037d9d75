// A kernel as the products of rows with it take it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "configuration.h"
#include "row_products.h"

namespace cnn_jax {

// Matrices [length, columns], one for each group and element of the window, and where they lie.
struct KernelMatrices {
  int64_t groups, window[3];
  int64_t length, columns;
  int64_t group_stride, window_strides[3], length_stride, column_stride;

  int64_t elements() const { return window[0] * window[1] * window[2]; }

  // Where a matrix begins, counted through groups and elements.
  int64_t place(int64_t matrix) const;
};

// Those of a convolution or its input gradient.
KernelMatrices kernel_matrices(const Configuration& configuration);

// [group, block of columns, element of the window, matrix as it is multiplied], each block some
// vectors, or some columns, wide.
class PackedKernel {
 public:
  // Along what takes fewer vectors.
  explicit PackedKernel(const KernelMatrices& matrices);
  PackedKernel(const KernelMatrices& matrices, Along along);

  int64_t size() const { return matrices() * padded_columns() * padded_; }
  int64_t matrices() const { return kernel_.groups * kernel_.elements(); }
  int64_t blocks() const { return blocks_; }
  int64_t first_column(int64_t block) const { return starts_[block] * unit_; }
  int wide(int64_t block) const { return static_cast<int>(starts_[block + 1] - starts_[block]); }
  int widest() const { return wide(blocks_ - 1); }
  int64_t widest_matrix() const { return size(blocks_ - 1); }

  // Those of a block without what fills its last vector.
  int64_t columns(int64_t block) const {
    return std::min(wide(block) * unit_, kernel_.columns - first_column(block));
  }

  // Where the block of a matrix stands.
  int64_t place(int64_t group, int64_t block, int64_t element) const;

  // Numbers of a matrix's block.
  int64_t size(int64_t block) const { return wide(block) * unit_ * padded_; }

  // Packs one of the matrices.
  void pack(const float* kernel, int64_t matrix, float* packed) const;

  // Packs a block of one, to where it shall stand.
  void pack_block(const float* kernel, int64_t matrix, int64_t block, float* to) const;

  const Along along;

 private:
  int64_t padded_columns() const { return starts_.back() * unit_; }
  void copy_rows(const float* from, int64_t begin, int64_t end, int64_t block, float* to) const;
  void copy_columns(const float* from, int64_t block, float* to) const;

  const KernelMatrices kernel_;
  int64_t unit_, padded_;        // columns of one, and the length with what fills a vector
  std::vector<int64_t> starts_;  // of the blocks, in vectors or columns
  int64_t blocks_;
};

}  // namespace cnn_jax
