#include "kernel_gradient.h"

#include <algorithm>
#include <vector>

#include "gradient_cut.h"
#include "outer_products.h"
#include "pair_gradient.h"
#include "pair_products.h"
#include "placement.h"
#include "primitives.h"
#include "threads.h"
#include "tile_gradient.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr int64_t kTogether = 128;    // positions
constexpr int64_t kSlice = 1 << 14;   // numbers of a sum that a thread takes

// Whether the array fills its memory in this order of its axes, the outermost first.
bool ordered(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
             const std::vector<size_t>& order) {
  int64_t expected = 1;
  for (auto axis = order.rbegin(); axis != order.rend(); ++axis) {
    if (sizes[*axis] > 1 && strides[*axis] != expected) return false;
    expected *= sizes[*axis];
  }
  return true;
}

class Sum {
 public:
  Sum(const GradientCut& cut, const Arrays& arrays, const OuterProductLoops& loops)
      : cut_(cut),
        picture_(static_cast<const float*>(arrays.source)),
        gradient_(static_cast<const float*>(arrays.destination)),
        loops_(loops) {}

  // The sums of one part for one group of elements and one block of channels.
  void run(const GradientShare& share, float* result) {
    bool fresh = true;
    for (int64_t begin = share.first_piece; begin < share.past_piece;) {
      const int64_t end = std::min(share.past_piece, begin + cut_.together);
      const int64_t next = std::min(share.past_piece, end + cut_.together);
      Ahead gradient = {gradient_at(end), gradient_at(next)};
      Ahead picture = {picture_ + cut_.picture_before(end), picture_ + cut_.picture_before(next)};
      for (int64_t number = share.first_element; number < share.past_element; ++number) {
        find_runs(number, begin, end, share.channel);
        loops_.sum({runs_.data(), static_cast<int64_t>(runs_.size()), cut_.stride[2] * cut_.in,
                    cut_.out, share.channels, cut_.out,
                    result + (number * cut_.in + share.channel) * cut_.out, cut_.out, fresh},
                   &gradient, &picture);
      }
      fresh = false;
      begin = end;
    }
  }

 private:
  // What an element of the window meets. Rows without a gap between them make one run.
  void find_runs(int64_t element, int64_t begin, int64_t end, int64_t channel) {
    runs_.clear();
    const Sizes shifts = cut_.shifts_of(element);
    const int64_t step = cut_.stride[2], shift = shifts[2];
    const int64_t first = shift < 0 ? divided_up(-shift, step) : 0;
    const int64_t room = cut_.input[2] - shift;
    const int64_t last = room > 0 ? divided_up(room, step) : 0;
    for (int64_t number = begin; number < end; ++number) {
      const Piece p = cut_.piece(number);
      const int64_t row = cut_.row_of(p, shifts);
      const int64_t from = std::max(first, p.place[2]), to = std::min(last, p.end);
      if (row < 0 || from >= to) continue;
      const float* const picture =
          picture_ + (row * cut_.input[2] + from * step + shift) * cut_.in + channel;
      const float* const gradient = gradient_at(number) + (from - p.place[2]) * cut_.out;
      if (!runs_.empty()) {
        Run& before = runs_.back();
        if (before.picture + before.count * step * cut_.in == picture &&
            before.gradient + before.count * cut_.out == gradient) {
          before.count += to - from;
          continue;
        }
      }
      runs_.push_back({picture, gradient, to - from});
    }
  }

  const float* gradient_at(int64_t number) const {
    return gradient_ + cut_.position_of(number) * cut_.out;
  }

  const GradientCut& cut_;
  const float* const picture_;
  const float* const gradient_;
  const OuterProductLoops& loops_;
  std::vector<Run> runs_;
};

void run_float32(const GradientCut& cut, const Arrays& arrays, int threads) {
  const OuterProductLoops& loops = *outer_product_loops();
  float* const result = static_cast<float*>(arrays.weights);
  const Workspace others(static_cast<size_t>((cut.parts - 1) * cut.size) * sizeof(float));
  const auto sums = [&](int64_t part) {
    return part == 0 ? result : static_cast<float*>(others.data()) + (part - 1) * cut.size;
  };
  for_each(threads, cut.parts * cut.groups * cut.blocks, [&](int64_t number) {
    const int64_t part = number / (cut.groups * cut.blocks);
    const int64_t group = number / cut.blocks % cut.groups;
    Sum(cut, arrays, loops).run(share_of(cut, part, group, number % cut.blocks), sums(part));
  });
  if (cut.parts == 1) return;
  for_each(threads, divided_up(cut.size, kSlice), [&](int64_t slice) {
    const int64_t begin = slice * kSlice, count = std::min(kSlice, cut.size - begin);
    for (int64_t part = 1; part < cut.parts; ++part) {
      loops.add(result + begin, sums(part) + begin, count);
    }
  });
}

void run_bfloat16(const GradientCut& cut, const Arrays& arrays, int threads) {
  const PairProductLoops& loops = *pair_product_loops();
  const auto result = static_cast<Bfloat16*>(arrays.weights);
  const Workspace sums(static_cast<size_t>(cut.parts * cut.size) * sizeof(float));
  const auto parts = static_cast<float*>(sums.data());
  for_each(threads, cut.parts * cut.groups * cut.blocks, [&](int64_t number) {
    const int64_t part = number / (cut.groups * cut.blocks);
    const int64_t group = number / cut.blocks % cut.groups;
    const GradientShare share = share_of(cut, part, group, number % cut.blocks);
    sum_pairs(cut, share, arrays, loops, parts + part * cut.size);
  });
  for_each(threads, divided_up(cut.size, kSlice), [&](int64_t slice) {
    const int64_t begin = slice * kSlice, count = std::min(kSlice, cut.size - begin);
    loops.add(parts + begin, cut.parts, cut.size, count, result + begin);
  });
}

}  // namespace

void refuse_outer_products(const Configuration& c) {
  const bool there = c.type == Type::kFloat32 ? outer_product_loops() != nullptr
                                              : pair_product_loops() != nullptr;
  if (!there) refuse("it is slower on this processor");
  if (c.kind != Kind::kKernelGradient || c.groups != 1) {
    refuse("it is not a kernel gradient of one group");
  }
  if (c.type != Type::kFloat32 && c.out_channels % kColumns != 0) {
    refuse("channels of the output don't fill whole vectors");
  }
  std::vector<int64_t> sizes = {1, c.out_channels, c.in_channels};
  sizes.insert(sizes.end(), c.window.begin(), c.window.end());
  std::vector<size_t> order = {0};
  for (size_t axis = 3; axis < sizes.size(); ++axis) order.push_back(axis);
  order.insert(order.end(), {2, 1});
  if (!has_channels_last(c.batch, c.in_channels, c.input, c.source_strides) ||
      !has_channels_last(c.batch, c.out_channels, c.output, c.destination_strides) ||
      !ordered(sizes, c.weights_strides, order)) {
    refuse("the output's channels are not the last axis, or the input's not next to it");
  }
}

void run_outer_products(const Configuration& c, const Arrays& arrays) {
  refuse_outer_products(c);
  const int threads = threads_for(c.work());
  const Placement placement(threads);
  if (c.type == Type::kFloat32) {
    run_float32(GradientCut(c, kTogether), arrays, threads);
  } else if (!fits_matrix_units(c) || !run_on_matrix_units(c, arrays, threads)) {
    run_bfloat16(GradientCut(c, kPositionsTogether), arrays, threads);
  }
}

}  // namespace cnn_jax
