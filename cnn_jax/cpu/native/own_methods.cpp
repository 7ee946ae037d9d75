#include "own_methods.h"

#include "depthwise.h"
#include "implicit_product.h"
#include "kernel_gradient.h"
#include "narrow.h"
#include "planar.h"
#include "winograd_slices.h"

namespace cnn_jax {
namespace {

constexpr OwnMethod kOuterProducts = {
    refuse_outer_products, nullptr,
    [](const Configuration& c, const Arrays& arrays, const ForEach&, const Finishing&) {
      run_outer_products(c, arrays);
    }};
constexpr OwnMethod kImplicitProduct = {refuse_implicit_product, implicit_product_pieces,
                                        run_implicit_product};
constexpr OwnMethod kDepthwise = {refuse_depthwise, depthwise_pieces, run_depthwise};
constexpr OwnMethod kNarrow = {refuse_narrow, narrow_pieces, run_narrow};
constexpr OwnMethod kPlanar = {refuse_planar, planar_pieces, run_planar};
constexpr OwnMethod kWinogradSlices = {refuse_winograd_slices, winograd_slices_pieces,
                                       run_winograd_slices};

}  // namespace

const OwnMethod* own_method(Method method) {
  switch (method) {
    case Method::kOuterProducts:
      return &kOuterProducts;
    case Method::kImplicitProduct:
      return &kImplicitProduct;
    case Method::kDepthwise:
      return &kDepthwise;
    case Method::kNarrow:
      return &kNarrow;
    case Method::kPlanar:
      return &kPlanar;
    case Method::kWinogradSlices:
      return &kWinogradSlices;
    default:
      return nullptr;
  }
}

}  // namespace cnn_jax
