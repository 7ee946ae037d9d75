#include "epilogue.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <thread>

#include "own_methods.h"
#include "placement.h"
#include "pooling_windows.h"
#include "prepared.h"
#include "threads.h"

namespace cnn_jax {
namespace {

constexpr int64_t kInCache = 256 << 10;  // bytes of a result that its core's cache keeps
constexpr int64_t kFewestParts = 8;
constexpr size_t kAfter = 3, kBatch = 7;  // where these stand among the numbers

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

// Works on a result in the cache, part by part.
class Finish {
 public:
  Finish(const Configuration& c, const Arrays& arrays, int64_t parts)
      : channels_(c.channels_of_result()),
        row_(bytes(c.type) * channels_),
        summed_(c.after == After::kThroughRelu),
        result_(static_cast<char*>(c.kind == Kind::kForward ? arrays.destination : arrays.source)),
        further_(static_cast<const char*>(arrays.further)),
        rectifier_(c.type, channels_, summed_ ? nullptr : further_),
        sums_(static_cast<size_t>(summed_ ? 2 * channels_ * parts : 0)) {}

  void operator()(int64_t part, int64_t pixel, int64_t pixels) {
    void* const here = result_ + pixel * row_;
    if (!summed_) return rectifier_.positive_part(here, pixels);
    float* const sums = sums_.data() + 2 * part * channels_;
    rectifier_.let_through(further_ + pixel * row_, here, pixels, {sums, sums + channels_});
  }

  void add_up(float* sums) const {
    if (!summed_) return;
    std::fill_n(sums, channels_, 0.0f);
    const int64_t step = 2 * channels_;
    for (size_t part = 0; part < sums_.size(); part += step) {
      for (int64_t i = 0; i < channels_; ++i) sums[i] += sums_[part + i];
    }
  }

 private:
  const int64_t channels_, row_;
  const bool summed_;
  char* const result_;
  const char* const further_;
  const Rectifier rectifier_;
  std::vector<float> sums_;
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

void run_cut(const std::vector<int64_t>& numbers, const Configuration& c, const Arrays& arrays,
             const ForEach& for_each) {
  const Cut whole = cut(numbers, c);
  const Parts& parts = whole.parts;
  const bool forward = c.kind == Kind::kForward;
  const ThreadCount one(1);
  Prepared weights_of_each(whole.each->weights, arrays.weights);
  Prepared weights_of_last(whole.last->weights, arrays.weights);
  weights_of_each.read();
  weights_of_last.read();
  stream().wait();

  Finish finish(c, arrays, parts.count);
  void* const given = forward ? arrays.source : arrays.destination;
  void* const made = forward ? arrays.destination : arrays.source;
  const int64_t pixels = parts.result / bytes(c.type) / c.channels_of_result();
  for_each(parts.count, [&](int64_t number) {
    const ThreadCount alone(1);
    const bool is_last = number == parts.count - 1;
    const Primitives& primitives = is_last ? *whole.last : *whole.each;
    const Prepared& weights = is_last ? weights_of_last : weights_of_each;
    const int64_t before = number * parts.images;
    void* const from = at(given, before * parts.source);
    void* const to = at(made, before * parts.result);
    const dnnl::memory source(primitives.source.wanted, engine(), forward ? from : to);
    const dnnl::memory destination(primitives.destination.wanted, engine(), forward ? to : from);
    run_direct(primitives, c.kind, source, weights.wanted(), destination);
    stream().wait();
    finish(number, before * pixels, pixels * (is_last ? parts.last : parts.images));
  });
  finish.add_up(arrays.sums);
}

// Throws dnnl::error where the pictures don't lie as the method takes them.
std::shared_ptr<const Primitives> winograd_of(std::vector<int64_t> numbers, const Configuration& c,
                                              int threads) {
  numbers[kAfter] = static_cast<int64_t>(After::kNothing);
  auto primitives = find_primitives(numbers, c, threads);
  if (!in_place(*primitives)) refuse("the method takes copies of the pictures");
  return primitives;
}

void run_winograd(const std::vector<int64_t>& numbers, const Configuration& c,
                  const Arrays& arrays) {
  const int threads = threads_for(c.work());
  const ThreadCount count(threads);
  const Placement placement(threads);
  const auto primitives = winograd_of(numbers, c, threads);
  Prepared weights(primitives->weights, arrays.weights);
  weights.read();
  stream().wait();
  Finish finish(c, arrays, primitives->winograd->parts());
  primitives->winograd->run(static_cast<float*>(arrays.source), weights.floats(),
                            static_cast<float*>(arrays.destination), std::ref(finish));
  finish.add_up(arrays.sums);
}

// How many pieces the work is cut into. Throws dnnl::error where pixels aren't computed one after the
// other with all of their channels, or had better not be.
int64_t pieces_in_order(const Configuration& c) {
  const OwnMethod& method = *own_method(c.method);
  method.refuse(c);
  const int64_t pieces = method.pieces(c);
  const bool forward = c.kind == Kind::kForward;
  const auto& sizes = forward ? c.output : c.input;
  const auto& strides = forward ? c.destination_strides : c.source_strides;
  // An implicit product takes group after group.
  bool ordered = (c.groups == 1 || c.method == Method::kDepthwise) && pieces >= kFewestParts;
  ordered &= has_channels_last(c.batch, c.channels_of_result(), sizes, strides);
  if (!forward && c.method == Method::kImplicitProduct) {
    for (int64_t stride : c.stride) ordered &= stride == 1;
  }
  if (!ordered) refuse("pixels are not computed one after the other");
  return pieces;
}

void run_in_order(const Configuration& c, const Arrays& arrays, const ForEach& for_each) {
  Finish finish(c, arrays, pieces_in_order(c));
  own_method(c.method)->run(c, arrays, for_each, std::ref(finish));
  finish.add_up(arrays.sums);
}

void refuse_others(const Configuration& c) {
  if (c.kind == Kind::kKernelGradient || c.method == Method::kOuterProducts) {
    refuse("only convolutions and their input gradients have an epilogue");
  }
  if (c.channels_of_result() < kFewestChannels) refuse("there are too few channels");
}

}  // namespace

void refuse_epilogue(const std::vector<int64_t>& numbers, const Configuration& c) {
  refuse_others(c);
  if (c.method == Method::kWinograd) {
    const int threads = threads_for(c.work());
    const ThreadCount count(threads);
    winograd_of(numbers, c, threads);
  } else if (c.method == Method::kDirect) {
    cut(numbers, c);
  } else {
    pieces_in_order(c);
  }
}

void run_with_epilogue(const std::vector<int64_t>& numbers, const Configuration& c,
                       const Arrays& arrays, const ForEach& for_each) {
  refuse_others(c);
  if (c.method == Method::kWinograd) return run_winograd(numbers, c, arrays);
  if (c.method == Method::kDirect) return run_cut(numbers, c, arrays, for_each);
  run_in_order(c, arrays, for_each);
}

}  // namespace cnn_jax
