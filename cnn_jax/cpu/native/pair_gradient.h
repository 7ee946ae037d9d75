// Sums of outer products of bfloat16 numbers, whose rows are put in pairs first.
#pragma once

#include "convolution.h"
#include "gradient_cut.h"
#include "pair_products.h"

namespace cnn_jax {

constexpr int64_t kPositionsTogether = 256;

// One share of the sums, the whole kernel's gradient beginning at `result`.
void sum_pairs(const GradientCut& cut, const GradientShare& share, const Arrays& arrays,
               const PairProductLoops& loops, float* result);

}  // namespace cnn_jax
