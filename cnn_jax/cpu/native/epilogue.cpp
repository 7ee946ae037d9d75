#include "epilogue.h"

#include <algorithm>
#include <memory>
#include <thread>

#include "pooling_windows.h"
#include "prepared.h"
#include "threads.h"

namespace cnn_jax {
namespace {

constexpr int64_t kInCache = 256 << 10;  // bytes of a result that its core's cache keeps
constexpr int64_t kFewestParts = 8;
constexpr size_t kBatch = 7;  // where the batch stands among the numbers

// The images of a batch, cut into parts of which all but the last are alike. How they are cut
// doesn't depend on the number of threads, so that sums are the same with any.
struct Parts {
  int64_t images, count, last;
  int64_t source, result;  // bytes of an image that is read, and of one that is made

  explicit Parts(const Configuration& c) {
    const bool forward = c.kind == Kind::kForward;
    source = bytes(c.type) * c.source_size() / c.batch;
    result = bytes(c.type) * c.destination_size() / c.batch;
    if (!forward) std::swap(source, result);
    images = std::clamp<int64_t>(kInCache / result, 1, divided_up(c.batch, kFewestParts));
    count = divided_up(c.batch, images);
    last = c.batch - (count - 1) * images;
  }
};

std::shared_ptr<const Primitives> primitives_of(std::vector<int64_t> numbers, Configuration c,
                                                int64_t images) {
  numbers[kBatch] = c.batch = images;
  const ThreadCount one(1);
  return find_primitives(numbers, c, 1);
}

// The loops of a pooling whose windows are single elements, on rows of channels, in place.
class Rectifier {
 public:
  // Without a bias it is for gradients.
  Rectifier(Type type, int64_t channels, const void* bias) {
    pooling_.kind = bias ? PoolingKind::kLargest : PoolingKind::kGradientOfLargest;
    pooling_.type = type;
    pooling_.biased = bias != nullptr;
    pooling_.rectified = true;
    pooling_.through = pooling_.summed = bias == nullptr;
    pooling_.divisor = pooling_.outer = 1;
    pooling_.channels = channels;
    for (int64_t* ones : {pooling_.size, pooling_.window, pooling_.stride, pooling_.dilation,
                          pooling_.count}) {
      std::fill_n(ones, 3, 1);
    }
    bias_ = bias_of(pooling_, bias);
  }

  void positive_part(void* array, int64_t rows) const {
    on(rows, [&](const Rows& all) {
      if (pooling_.type == Type::kFloat32) {
        float* const in_place = static_cast<float*>(array);
        window_loops().largest(all, in_place, in_place);
      } else {
        Bfloat16* const in_place = static_cast<Bfloat16*>(array);
        window_loops().largest_bfloat16(all, in_place, in_place);
      }
    });
  }

  void let_through(const void* relu, void* gradient, int64_t rows, ChannelSums sums) const {
    on(rows, [&](const Rows& all) {
      if (pooling_.type == Type::kFloat32) {
        float* const in_place = static_cast<float*>(gradient);
        window_loops().place(all, static_cast<const float*>(relu), in_place, in_place, sums);
      } else {
        Bfloat16* const in_place = static_cast<Bfloat16*>(gradient);
        window_loops().place_bfloat16(all, static_cast<const Bfloat16*>(relu), in_place, in_place,
                                      sums);
      }
    });
  }

 private:
  template <typename Body>
  void on(int64_t rows, const Body& body) const {
    Pooling pooling = pooling_;
    pooling.size[2] = pooling.count[2] = rows;
    const Tap tap = {{0, 0, 0}, 0};
    body(Rows{pooling, {&tap, 1}, 0, 1, bias_.data(), true});
  }

  Pooling pooling_ = {};
  std::vector<float> bias_;
};

// Whether the kernel takes and leaves images one after the other, with their channels last.
bool in_place(const Primitives& primitives) {
  return !primitives.source.copied() && !primitives.destination.copied();
}

char* at(void* array, int64_t offset) { return static_cast<char*>(array) + offset; }

struct Cut {
  Parts parts;
  std::shared_ptr<const Primitives> each, last;
};

// Throws dnnl::error where the convolution can't be cut, or had better not be.
Cut cut(const std::vector<int64_t>& numbers, const Configuration& c) {
  if (c.kind == Kind::kKernelGradient || c.method != Method::kDirect) {
    refuse("only direct convolutions and their input gradients have an epilogue");
  }
  if (c.channels_of_result() < kFewestChannels) refuse("there are too few channels");
  const Parts parts(c);
  const int64_t processors = std::max(1u, std::thread::hardware_concurrency());
  if (parts.count < std::min(2 * processors, kFewestParts)) {
    refuse("there are too few images to share out");
  }
  const Cut made = {parts, primitives_of(numbers, c, parts.images),
                    primitives_of(numbers, c, parts.last)};
  for (const auto& primitives : {made.each, made.last}) {
    if (primitives->general || !in_place(*primitives)) {
      refuse("its kernel takes all images at once");
    }
  }
  return made;
}

}  // namespace

void refuse_epilogue(const std::vector<int64_t>& numbers, const Configuration& c) {
  cut(numbers, c);
}

void run_with_epilogue(const std::vector<int64_t>& numbers, const Configuration& c,
                       const Arrays& arrays, const ForEach& for_each) {
  const Cut whole = cut(numbers, c);
  const Parts& parts = whole.parts;
  const bool forward = c.kind == Kind::kForward, summed = c.after == After::kThroughRelu;
  const ThreadCount one(1);
  Prepared weights_of_each(whole.each->weights, arrays.weights);
  Prepared weights_of_last(whole.last->weights, arrays.weights);
  weights_of_each.read();
  weights_of_last.read();
  stream().wait();

  const int64_t channels = c.channels_of_result(), row = bytes(c.type) * channels;
  const Rectifier rectifier(c.type, channels, summed ? nullptr : arrays.further);
  std::vector<float> sums(static_cast<size_t>(summed ? 2 * channels * parts.count : 0));
  void* const given = forward ? arrays.source : arrays.destination;
  void* const made = forward ? arrays.destination : arrays.source;
  for_each(parts.count, [&](int64_t number) {
    const ThreadCount alone(1);
    const bool is_last = number == parts.count - 1;
    const Primitives& primitives = is_last ? *whole.last : *whole.each;
    const Prepared& weights = is_last ? weights_of_last : weights_of_each;
    const int64_t before = number * parts.images;
    const int64_t size = parts.result * (is_last ? parts.last : parts.images);
    void* const from = at(given, before * parts.source);
    void* const to = at(made, before * parts.result);
    const dnnl::memory source(primitives.source.wanted, engine(), forward ? from : to);
    const dnnl::memory destination(primitives.destination.wanted, engine(), forward ? to : from);
    run_direct(primitives, c.kind, source, weights.wanted(), destination);
    stream().wait();
    if (!summed) return rectifier.positive_part(to, size / row);
    const char* relu = static_cast<const char*>(arrays.further) + before * parts.result;
    rectifier.let_through(relu, to, size / row,
                          {sums.data() + 2 * number * channels,
                           sums.data() + (2 * number + 1) * channels});
  });
  for (int64_t i = 0; summed && i < channels; ++i) {
    arrays.sums[i] = 0;
    for (int64_t part = 0; part < parts.count; ++part) {
      arrays.sums[i] += sums[2 * part * channels + i];
    }
  }
}

}  // namespace cnn_jax
