#include "winograd_slices.h"

#include <algorithm>
#include <vector>

#include "outer_products.h"
#include "primitives.h"
#include "shared_out.h"
#include "spaced_products.h"
#include "winograd_slice_products.h"
#include "winograd_slice_sums.h"

namespace cnn_jax {
namespace {

constexpr int64_t kDeepest = 16;                     // slices of a window
constexpr int64_t kMostNumbers = int64_t{16} << 20;  // of a kernel's transform, or its sums
constexpr int64_t kFewestTiles = 32;                 // that are taken together

}  // namespace

void refuse_winograd_slices(const Configuration& c) {
  if (spaced_product_loops() == nullptr) refuse("it is slower on this processor");
  if (c.type != Type::kFloat32 || c.groups != 1) {
    refuse("it is not a float32 convolution of one group");
  }
  const auto ones = [](const std::vector<int64_t>& steps) {
    return std::all_of(steps.begin(), steps.end(), [](int64_t step) { return step == 1; });
  };
  const size_t rank = c.window.size();
  if (rank < 2 || c.window[rank - 1] != kWindow || c.window[rank - 2] != kWindow ||
      !ones(c.stride) || !ones(c.dilation)) {
    refuse("it is not a window of 3x3, of any depth, with stride 1 and dilation 1");
  }
  const int64_t depth = rank == 3 ? c.window.front() : 1;
  const int64_t matrices = kProducts * depth;
  const int64_t slices = matrices * kFewestTiles * std::max(c.in_channels, c.out_channels);
  if (depth > kDeepest || slices > kMostNumbers ||
      matrices * c.in_channels * c.out_channels > kMostNumbers) {
    refuse("what it makes of the slices or the kernel would take too much memory");
  }
  if ((c.in_channels > 1 && c.source_strides[1] != 1) ||
      (c.out_channels > 1 && c.destination_strides[1] != 1)) {
    refuse("the channels are not the last axis");
  }
  if (c.kind != Kind::kKernelGradient) return;
  if (outer_product_loops() == nullptr || c.out_channels % kColumns != 0) {
    refuse("the output's channels don't fill vectors");
  }
}

int64_t winograd_slices_pieces(const Configuration& c) { return WinogradSliceProducts(c).pieces(); }

void run_winograd_slices(const Configuration& c, const Arrays& arrays, const ForEach& for_each,
                         const Finishing& finish) {
  refuse_winograd_slices(c);
  const ForEach each = shared_out(c.vector_work(), for_each);
  auto* const source = static_cast<float*>(arrays.source);
  auto* const weights = static_cast<float*>(arrays.weights);
  auto* const destination = static_cast<float*>(arrays.destination);
  if (c.kind == Kind::kKernelGradient) {
    return WinogradSliceSums(c).run(source, destination, weights, each);
  }
  const bool forward = c.kind == Kind::kForward;
  WinogradSliceProducts(c).run(forward ? source : destination, weights,
                               forward ? destination : source, each, finish);
}

}  // namespace cnn_jax
