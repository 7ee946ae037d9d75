#include "packed_kernel.h"

namespace cnn_jax {
namespace {

constexpr int64_t kTurned = 16;  // rows of a matrix that are packed together
// By how much more vectors along a row count, each of whose sums is added up to one number.
constexpr int64_t kAlongRow = 5, kAlongColumns = 4;

Along shorter(const Correlation& c) {
  const int64_t columns = c.length * divided_up(c.columns, kVector);
  const int64_t row = c.columns * divided_up(c.length, kVector);
  return kAlongRow * row < kAlongColumns * columns ? Along::kRow : Along::kColumns;
}

}  // namespace

PackedKernel::PackedKernel(const Configuration& c, const Correlation& correlation)
    : along(shorter(correlation)),
      correlation_(correlation),
      elements_(correlation.window[0] * correlation.window[1] * correlation.window[2]) {
  const bool forward = c.kind == Kind::kForward;
  group_stride_ = c.weights_strides[0];
  length_stride_ = c.weights_strides[forward ? 2 : 1];
  column_stride_ = c.weights_strides[forward ? 1 : 2];
  const size_t missing = 3 - c.window.size();
  for (size_t axis = 0; axis < 3; ++axis) {
    strides_[axis] = axis < missing ? 0 : c.weights_strides[3 + axis - missing];
  }
  const bool by_columns = along == Along::kColumns;
  unit_ = by_columns ? kVector : 1;
  padded_ = by_columns ? length() : divided_up(length(), kVector) * kVector;
  const int64_t units = divided_up(correlation.columns, unit_);
  blocks_ = divided_up(units, kMostWide);
  for (int64_t block = 0; block <= blocks_; ++block) starts_.push_back(block * units / blocks_);
}

int64_t PackedKernel::place(int64_t group, int64_t block, int64_t element) const {
  const int64_t before = elements_ * first_column(block) + element * wide(block) * unit_;
  return (group * elements_ * padded_columns() + before) * padded_;
}

void PackedKernel::pack(const float* kernel, int64_t matrix, float* packed) const {
  const int64_t element = matrix % elements_, group = matrix / elements_;
  const int64_t* const window = correlation_.window;
  const float* const from = kernel + group * group_stride_ +
                            element / (window[1] * window[2]) * strides_[0] +
                            element / window[2] % window[1] * strides_[1] +
                            element % window[2] * strides_[2];
  for (int64_t block = 0; block < blocks_; ++block) {
    float* const to = packed + place(group, block, element);
    const float* const first = from + first_column(block) * column_stride_;
    if (along == Along::kRow) {
      copy_columns(first, block, to);
      continue;
    }
    for (int64_t begin = 0; begin < length(); begin += kTurned) {
      copy_rows(first, begin, std::min(length(), begin + kTurned), block, to);
    }
  }
}

void PackedKernel::copy_rows(const float* from, int64_t begin, int64_t end, int64_t block,
                             float* to) const {
  const int64_t count = columns(block), all = wide(block) * kVector;
  if (column_stride_ == 1) {
    for (int64_t k = begin; k < end; ++k) std::copy_n(from + k * length_stride_, count, to + k * all);
  } else {
    for (int64_t j = 0; j < count; ++j) {
      const float* const column = from + j * column_stride_;
      for (int64_t k = begin; k < end; ++k) to[k * all + j] = column[k * length_stride_];
    }
  }
  for (int64_t k = begin; k < end; ++k) std::fill_n(to + k * all + count, all - count, 0.0f);
}

void PackedKernel::copy_columns(const float* from, int64_t block, float* to) const {
  for (int64_t j = 0; j < columns(block); ++j, to += padded_) {
    for (int64_t k = 0; k < length(); ++k) to[k] = from[j * column_stride_ + k * length_stride_];
    std::fill_n(to + length(), padded_ - length(), 0.0f);
  }
}

}  // namespace cnn_jax
