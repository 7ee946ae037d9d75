#include "packed_kernel.h"

namespace cnn_jax {
namespace {

constexpr int64_t kTurned = 16;  // rows of a matrix that are packed together
// By how much more vectors along a row count, each of whose sums is added up to one number.
constexpr int64_t kAlongRow = 5, kAlongColumns = 4;

Along shorter(const KernelMatrices& k) {
  const int64_t columns = k.length * divided_up(k.columns, kVector);
  const int64_t row = k.columns * divided_up(k.length, kVector);
  return kAlongRow * row < kAlongColumns * columns ? Along::kRow : Along::kColumns;
}

}  // namespace

int64_t KernelMatrices::place(int64_t matrix) const {
  const int64_t element = matrix % elements();
  return matrix / elements() * group_stride +
         element / (window[1] * window[2]) * window_strides[0] +
         element / window[2] % window[1] * window_strides[1] +
         element % window[2] * window_strides[2];
}

KernelMatrices kernel_matrices(const Configuration& c) {
  const bool forward = c.kind == Kind::kForward;
  KernelMatrices made = {};
  made.groups = c.groups;
  made.length = (forward ? c.in_channels : c.out_channels) / c.groups;
  made.columns = (forward ? c.out_channels : c.in_channels) / c.groups;
  made.group_stride = c.weights_strides[0];
  made.length_stride = c.weights_strides[forward ? 2 : 1];
  made.column_stride = c.weights_strides[forward ? 1 : 2];
  const size_t missing = 3 - c.window.size();
  for (size_t axis = 0; axis < 3; ++axis) {
    made.window[axis] = axis < missing ? 1 : c.window[axis - missing];
    made.window_strides[axis] = axis < missing ? 0 : c.weights_strides[3 + axis - missing];
  }
  return made;
}

PackedKernel::PackedKernel(const KernelMatrices& kernel) : PackedKernel(kernel, shorter(kernel)) {}

PackedKernel::PackedKernel(const KernelMatrices& kernel, Along given_along)
    : along(given_along), kernel_(kernel) {
  const bool by_columns = along == Along::kColumns;
  unit_ = by_columns ? kVector : 1;
  padded_ = by_columns ? kernel.length : divided_up(kernel.length, kVector) * kVector;
  const int64_t units = divided_up(kernel.columns, unit_);
  blocks_ = divided_up(units, kMostWide);
  for (int64_t block = 0; block <= blocks_; ++block) starts_.push_back(block * units / blocks_);
}

int64_t PackedKernel::place(int64_t group, int64_t block, int64_t element) const {
  const int64_t elements = kernel_.elements();
  const int64_t before = elements * first_column(block) + element * wide(block) * unit_;
  return (group * elements * padded_columns() + before) * padded_;
}

void PackedKernel::pack(const float* kernel, int64_t matrix, float* packed) const {
  const int64_t element = matrix % kernel_.elements(), group = matrix / kernel_.elements();
  for (int64_t block = 0; block < blocks_; ++block) {
    pack_block(kernel, matrix, block, packed + place(group, block, element));
  }
}

void PackedKernel::pack_block(const float* kernel, int64_t matrix, int64_t block, float* to) const {
  const float* const from =
      kernel + kernel_.place(matrix) + first_column(block) * kernel_.column_stride;
  if (along == Along::kRow) return copy_columns(from, block, to);
  for (int64_t begin = 0; begin < kernel_.length; begin += kTurned) {
    copy_rows(from, begin, std::min(kernel_.length, begin + kTurned), block, to);
  }
}

void PackedKernel::copy_rows(const float* from, int64_t begin, int64_t end, int64_t block,
                             float* to) const {
  const int64_t count = columns(block), all = wide(block) * kVector;
  if (kernel_.column_stride == 1) {
    for (int64_t k = begin; k < end; ++k) {
      std::copy_n(from + k * kernel_.length_stride, count, to + k * all);
    }
  } else {
    for (int64_t j = 0; j < count; ++j) {
      const float* const column = from + j * kernel_.column_stride;
      for (int64_t k = begin; k < end; ++k) to[k * all + j] = column[k * kernel_.length_stride];
    }
  }
  for (int64_t k = begin; k < end; ++k) std::fill_n(to + k * all + count, all - count, 0.0f);
}

void PackedKernel::copy_columns(const float* from, int64_t block, float* to) const {
  for (int64_t j = 0; j < columns(block); ++j, to += padded_) {
    const float* const column = from + j * kernel_.column_stride;
    for (int64_t k = 0; k < kernel_.length; ++k) to[k] = column[k * kernel_.length_stride];
    std::fill_n(to + kernel_.length, padded_ - kernel_.length, 0.0f);
  }
}

}  // namespace cnn_jax
