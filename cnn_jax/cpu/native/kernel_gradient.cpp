#include "kernel_gradient.h"

#include <algorithm>
#include <vector>

#include "outer_products.h"
#include "placement.h"
#include "primitives.h"
#include "threads.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

// Positions taken together: what lies there stays in a core's nearest caches.
constexpr int64_t kTogether = 128;
// A part of fewer positions doesn't repay that its sums are added to the others'.
constexpr int64_t kWorthAPart = 1024;
// How many pieces of work there are at least, if they can be had, and at most parts.
constexpr int64_t kPieces = 8;
constexpr int64_t kFewestRows = 14;                // of a block, one tile
constexpr int64_t kKept = 128 << 10;               // numbers that a core's cache keeps
constexpr int64_t kMostSums = int64_t{16} << 20;   // numbers, of all parts
constexpr int64_t kSlice = 1 << 14;                // numbers of a sum that a thread takes

struct Sizes {
  int64_t of[3];

  // Axes that are missing stand first.
  Sizes(const std::vector<int64_t>& sizes, int64_t missing) {
    std::fill_n(of, 3, missing);
    std::copy(sizes.begin(), sizes.end(), of + 3 - sizes.size());
  }

  int64_t operator[](int axis) const { return of[axis]; }
  int64_t product() const { return of[0] * of[1] * of[2]; }
};

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

// Pieces of the output's rows, in the order of memory, are cut into parts, the window's elements into
// groups, and the input's channels into blocks. How doesn't depend on the number of threads, so that
// sums are the same with any.
class Cut {
 public:
  explicit Cut(const Configuration& c)
      : input(c.input, 1),
        output(c.output, 1),
        window(c.window, 1),
        stride(c.stride, 1),
        dilation(c.dilation, 1),
        low(c.padding_low, 0),
        in(c.in_channels),
        out(c.out_channels),
        picture_size(c.source_size()) {
    const int64_t positions = c.batch * output.product();
    per_row = divided_up(output[2], kTogether);
    length = divided_up(output[2], per_row);
    per_row = divided_up(output[2], length);
    total = c.batch * output[0] * output[1] * per_row;
    together = std::max<int64_t>(1, kTogether / length);
    const int64_t most = std::max<int64_t>(1, kMostSums / c.weights_size());
    parts = std::clamp<int64_t>(positions / kWorthAPart, 1, std::min({kPieces, most, total}));
    groups = std::clamp<int64_t>(kPieces / parts, 1, window.product());
    const int64_t wanted = std::max(kPieces / (parts * groups), c.weights_size() / groups / kKept);
    blocks = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, in / kFewestRows));
  }

  const Sizes input, output, window, stride, dilation, low;
  const int64_t in, out;
  const int64_t picture_size;
  int64_t per_row, length;  // pieces of a row, and positions of each but the last
  int64_t total;            // pieces
  int64_t together;         // pieces
  int64_t parts, groups, blocks;
};

class Sum {
 public:
  Sum(const Cut& cut, const Arrays& arrays, const OuterProductLoops& loops)
      : cut_(cut),
        picture_(static_cast<const float*>(arrays.source)),
        gradient_(static_cast<const float*>(arrays.destination)),
        loops_(loops) {}

  // The sums of one part for one group of elements and one block of channels.
  void run(int64_t part, int64_t group, int64_t block, float* result) {
    const int64_t elements = cut_.window.product();
    const int64_t first = group * elements / cut_.groups;
    const int64_t past = (group + 1) * elements / cut_.groups;
    const int64_t last = (part + 1) * cut_.total / cut_.parts;
    const int64_t channel = block * cut_.in / cut_.blocks;
    const int64_t channels = (block + 1) * cut_.in / cut_.blocks - channel;
    bool fresh = true;
    for (int64_t begin = part * cut_.total / cut_.parts; begin < last;) {
      const int64_t end = std::min(last, begin + cut_.together);
      const int64_t next = std::min(last, end + cut_.together);
      Ahead gradient = {gradient_at(end), gradient_at(next)};
      Ahead picture = {picture_before(end), picture_before(next)};
      for (int64_t number = first; number < past; ++number) {
        find_runs(number, begin, end, channel);
        loops_.sum({runs_.data(), static_cast<int64_t>(runs_.size()), cut_.stride[2] * cut_.in,
                    cut_.out, channels, cut_.out,
                    result + (number * cut_.in + channel) * cut_.out, cut_.out, fresh},
                   &gradient, &picture);
      }
      fresh = false;
      begin = end;
    }
  }

 private:
  struct Piece {
    int64_t image, place[3];
    int64_t end;  // past its last position along the last axis
  };

  Piece piece(int64_t number) const {
    Piece p;
    p.place[2] = number % cut_.per_row * cut_.length;
    p.end = std::min(cut_.output[2], p.place[2] + cut_.length);
    const int64_t row = number / cut_.per_row;
    p.place[1] = row % cut_.output[1];
    p.place[0] = row / cut_.output[1] % cut_.output[0];
    p.image = row / cut_.output[1] / cut_.output[0];
    return p;
  }

  // Where an element of the window lies on the picture. Rows without a gap between them make one
  // run.
  void find_runs(int64_t element, int64_t begin, int64_t end, int64_t channel) {
    runs_.clear();
    int64_t shifts[3];
    for (int axis = 2; axis >= 0; element /= cut_.window[axis--]) {
      shifts[axis] = element % cut_.window[axis] * cut_.dilation[axis] - cut_.low[axis];
    }
    const int64_t step = cut_.stride[2], shift = shifts[2];
    const int64_t first = shift < 0 ? divided_up(-shift, step) : 0;
    const int64_t room = cut_.input[2] - shift;
    const int64_t last = room > 0 ? divided_up(room, step) : 0;
    for (int64_t number = begin; number < end; ++number) {
      const Piece p = piece(number);
      int64_t row = p.image;
      bool inside = true;
      for (int axis = 0; axis < 2; ++axis) {
        const int64_t at = p.place[axis] * cut_.stride[axis] + shifts[axis];
        inside &= at >= 0 && at < cut_.input[axis];
        row = row * cut_.input[axis] + at;
      }
      const int64_t from = std::max(first, p.place[2]), to = std::min(last, p.end);
      if (!inside || from >= to) continue;
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
    const int64_t within = number % cut_.per_row * cut_.length;
    return gradient_ + (number / cut_.per_row * cut_.output[2] + within) * cut_.out;
  }

  // The picture up to here is what the pieces before this one need of it.
  const float* picture_before(int64_t number) const {
    if (number == cut_.total) return picture_ + cut_.picture_size;
    const Piece p = piece(number);
    int64_t at = p.image;
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t reach = (cut_.window[axis] - 1) * cut_.dilation[axis] - cut_.low[axis];
      const int64_t place = p.place[axis] * cut_.stride[axis] + reach;
      at = at * cut_.input[axis] + std::clamp<int64_t>(place, 0, cut_.input[axis] - 1);
    }
    return picture_ + at * cut_.in;
  }

  const Cut& cut_;
  const float* const picture_;
  const float* const gradient_;
  const OuterProductLoops& loops_;
  std::vector<Run> runs_;
};

}  // namespace

void refuse_outer_products(const Configuration& c) {
  if (outer_product_loops() == nullptr) refuse("it is slower on this processor");
  if (c.kind != Kind::kKernelGradient || c.type != Type::kFloat32 || c.groups != 1 ||
      c.out_channels % kColumns != 0) {
    refuse("it is not a float32 kernel gradient of one group and whole vectors of channels");
  }
  const size_t rank = c.window.size();
  std::vector<size_t> pictures = {0}, weights = {0};
  for (size_t axis = 2; axis < rank + 2; ++axis) {
    pictures.push_back(axis);
    weights.push_back(axis + 1);
  }
  pictures.push_back(1);
  weights.insert(weights.end(), {2, 1});
  const auto sizes = [&](std::vector<int64_t> front, const std::vector<int64_t>& spatial) {
    front.insert(front.end(), spatial.begin(), spatial.end());
    return front;
  };
  if (!ordered(sizes({c.batch, c.in_channels}, c.input), c.source_strides, pictures) ||
      !ordered(sizes({c.batch, c.out_channels}, c.output), c.destination_strides, pictures) ||
      !ordered(sizes({1, c.out_channels, c.in_channels}, c.window), c.weights_strides, weights)) {
    refuse("the output's channels are not the last axis, or the input's not next to it");
  }
}

void run_outer_products(const Configuration& c, const Arrays& arrays) {
  refuse_outer_products(c);
  const OuterProductLoops& loops = *outer_product_loops();
  const Cut cut(c);
  const int64_t size = c.weights_size();
  float* const result = static_cast<float*>(arrays.weights);
  const Workspace others(static_cast<size_t>((cut.parts - 1) * size) * sizeof(float));
  const auto sums = [&](int64_t part) {
    return part == 0 ? result : static_cast<float*>(others.data()) + (part - 1) * size;
  };
  const int threads = threads_for(c.work());
  const Placement placement(threads);
  for_each(threads, cut.parts * cut.groups * cut.blocks, [&](int64_t number) {
    const int64_t part = number / (cut.groups * cut.blocks);
    const int64_t group = number / cut.blocks % cut.groups;
    Sum(cut, arrays, loops).run(part, group, number % cut.blocks, sums(part));
  });
  if (cut.parts == 1) return;
  for_each(threads, divided_up(size, kSlice), [&](int64_t slice) {
    const int64_t begin = slice * kSlice, count = std::min(kSlice, size - begin);
    for (int64_t part = 1; part < cut.parts; ++part) {
      loops.add(result + begin, sums(part) + begin, count);
    }
  });
}

}  // namespace cnn_jax
