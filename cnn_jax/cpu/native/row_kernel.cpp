#include "row_kernel.h"

#include "numbers.h"

namespace cnn_jax {
namespace {

// A row of a padded picture has its channels next to each other, and so a window's row.
KernelMatrices by_rows(const Configuration& c, const Sliding& s) {
  KernelMatrices kernel = kernel_matrices(c);
  kernel.length *= s.window[2];
  kernel.window[2] = 1;
  kernel.column_stride = 1;
  kernel.length_stride = kernel.columns;
  kernel.group_stride = kernel.window_strides[2] = 0;
  kernel.window_strides[1] = kernel.length * kernel.columns;
  kernel.window_strides[0] = kernel.window[1] * kernel.window_strides[1];
  return kernel;
}

}  // namespace

RowKernel::RowKernel(const Configuration& c, const Sliding& sliding)
    : configuration_(c),
      sliding_(sliding),
      matrices_(by_rows(c, sliding)),
      packed_(matrices_) {}

const float* RowKernel::pack(const void* weights, float* space) const {
  const Configuration& c = configuration_;
  const KernelMatrices as_given = kernel_matrices(c);
  float* const packed = space + c.weights_size();
  float* to = space;
  for (int64_t element = 0; element < sliding_.elements(); ++element) {
    for (int64_t i = 0; i < inputs(); ++i) {
      for (int64_t j = 0; j < columns(); ++j, ++to) {
        const int64_t at = sliding_.weight(element) + i * as_given.length_stride +
                           j * as_given.column_stride;
        *to = number_at(weights, at, c.type);
      }
    }
  }
  for (int64_t number = 0; number < packed_.matrices(); ++number) {
    packed_.pack(space, number, packed);
  }
  return packed;
}

}  // namespace cnn_jax
