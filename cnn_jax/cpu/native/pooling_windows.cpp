// Compiled once for each kind of processor, with its name as CNN_JAX_PROCESSOR. Whatever the linker
// could take for another's is kept out: no function here is shared with another file.
#include "pooling_windows.h"

#include <type_traits>

namespace cnn_jax {
namespace {

constexpr float kLowest = -__builtin_inff();

#if defined(__AVX512BW__)
constexpr int kMostLanes = 16;
#elif defined(__AVX2__)
constexpr int kMostLanes = 8;
#else
constexpr int kMostLanes = 4;
#endif

// Elements whose numbers stay in a core's nearest cache.
constexpr int64_t kTogether = 32;

// Where one window lies: the place of its first element along each axis, and in memory.
struct Corner {
  int64_t place[3];
  int64_t offset;
};

CNN_JAX_INLINE bool contains(const Pooling& p, const Corner& corner, const Tap& tap) {
  bool inside = true;
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t at = corner.place[axis] + tap.place[axis];
    inside &= at >= 0 && at < p.size[axis];
  }
  return inside;
}

// Calls visit(channel, fresh) for each vector of channels. Where they don't fill the last vector it
// lies over the one before; it comes first, so that the other has the last word, and `fresh` is 0
// for the channels that come again.
template <int kLanes, typename Visit>
CNN_JAX_INLINE void each_vector(int64_t channels, const Visit& visit) {
  using Int = typename Lanes<kLanes>::Int;
  const int64_t filled = channels / kLanes * kLanes;
  if (filled < channels) {
    Int fresh;
    for (int lane = 0; lane < kLanes; ++lane) {
      fresh[lane] = lane < filled + kLanes - channels ? 0 : -1;
    }
    visit(channels - kLanes, fresh);
  }
  for (int64_t channel = 0; channel < filled; channel += kLanes) visit(channel, Int{} - 1);
}

// Calls visit(begin, end) for each block of elements.
template <typename Visit>
CNN_JAX_INLINE void each_block(int64_t begin, int64_t end, const Visit& visit) {
  for (; begin < end; begin += kTogether) {
    visit(begin, begin + kTogether < end ? begin + kTogether : end);
  }
}

// Calls visit(corner, window, channels, inside) for each window: its number within the outer array,
// and whether it lies on the array as a whole, as a type. Windows whose channels are neighbours in
// memory, in the array and in the result, can be visited together, as one of so many more channels.
template <typename Visit, typename EndRow>
CNN_JAX_INLINE void each_window(const Rows& rows, bool together, const Visit& visit,
                                const EndRow& end_row) {
  const Pooling& p = rows.pooling;
  const int64_t span = (p.window[2] - 1) * p.dilation[2];
  const auto first = [&](int axis, int64_t number) {
    return number * p.stride[axis] - p.low[axis];
  };
  const auto whole = [&](int axis, int64_t place) {
    return place >= 0 && place + (p.window[axis] - 1) * p.dilation[axis] < p.size[axis];
  };
  for (int64_t a = rows.begin; a < rows.end; ++a) {
    for (int64_t b = 0; b < p.count[1]; ++b) {
      Corner corner = {{first(0, a), first(1, b), 0}, 0};
      const bool across = whole(0, corner.place[0]) && whole(1, corner.place[1]);
      const int64_t line = (corner.place[0] * p.size[1] + corner.place[1]) * p.size[2];
      const int64_t window = (a * p.count[1] + b) * p.count[2];
      int64_t windows = 1;
      for (int64_t c = 0; c < p.count[2]; c += windows) {
        corner.place[2] = first(2, c);
        corner.offset = (line + corner.place[2]) * p.channels;
        windows = 1;
        if (across && whole(2, corner.place[2])) {
          const int64_t left = p.count[2] - c, room = p.size[2] - span - corner.place[2];
          if (together) windows = left < room ? left : room;
          visit(corner, window + c, windows * p.channels, std::true_type());
        } else {
          visit(corner, window + c, p.channels, std::false_type());
        }
      }
      end_row();
    }
  }
}

// What is pooled, of one element: x, x + bias, or the positive part of that. `kPlain` is whether it
// is x.
template <int kLanes, typename T, bool kPlain = false>
struct Pooled {
  using L = Lanes<kLanes>;
  using Float = typename L::Float;

  bool biased;
  Float bias;
  Float least;

  CNN_JAX_INLINE Pooled(const Rows& rows, int64_t channel)
      : biased(rows.pooling.biased),
        bias(kPlain ? Float{} : L::load(rows.bias + channel)),
        least(Float{} + (rows.pooling.rectified ? 0.0f : kLowest)) {}

  CNN_JAX_INLINE Float operator()(const T* from) const {
    Float value = L::load(from);
    if constexpr (kPlain) return value;
    if (biased) value = L::rounded(value + bias, from);
    return value <= least ? least : value;  // NaN stays
  }
};

template <bool kPlain, int kLanes, typename T>
CNN_JAX_INLINE void largest_of(const Rows& rows, const T* input, T* output) {
  using L = Lanes<kLanes>;
  const Pooling& p = rows.pooling;
  const auto window = [&](const Corner& corner, int64_t number, int64_t channels,
                          auto inside) CNN_JAX_INLINE_LAMBDA {
    each_vector<kLanes>(channels, [&](int64_t channel, typename L::Int) CNN_JAX_INLINE_LAMBDA {
      const Pooled<kLanes, T, kPlain> pooled(rows, channel);
      typename L::Float best = typename L::Float{} + kLowest;
      for (const Tap& tap : rows.taps) {
        if (!inside.value && !contains(p, corner, tap)) continue;
        const auto value = pooled(input + (corner.offset + tap.offset + channel));
        best = ((value <= best) | (best != best)) ? best : value;
      }
      L::store(best, output + number * p.channels + channel);
    });
  };
  each_window(rows, kPlain && p.stride[2] == 1, window, []() {});
}

// The same for windows of one element that leave none out. Output and input may be one.
template <int kLanes, typename T>
CNN_JAX_INLINE void largest_of_each(const Rows& rows, const T* input, T* output) {
  const int64_t across = rows.pooling.count[1] * rows.pooling.count[2];
  const int64_t channels = rows.pooling.channels;
  each_block(rows.begin * across, rows.end * across, [&](int64_t begin, int64_t end) {
    each_vector<kLanes>(channels, [&](int64_t channel, auto fresh) CNN_JAX_INLINE_LAMBDA {
      const Pooled<kLanes, T> pooled(rows, channel);
      for (int64_t at = begin * channels + channel; at < end * channels; at += channels) {
        // The channels that come again stay as they are until then.
        const auto given = Lanes<kLanes>::load(input + at);
        Lanes<kLanes>::store(fresh ? pooled(input + at) : given, output + at);
      }
    });
  });
}

template <int kLanes, typename T, typename Result>
CNN_JAX_INLINE void sums_of(const Rows& rows, const T* input, Result* output) {
  using L = Lanes<kLanes>;
  const Pooling& p = rows.pooling;
  const float divisor = static_cast<float>(p.divisor);
  const bool once = p.precision == Precision::kRoundedOnce;
  const auto window = [&](const Corner& corner, int64_t number, int64_t channels,
                          auto inside) CNN_JAX_INLINE_LAMBDA {
    each_vector<kLanes>(channels, [&](int64_t channel, typename L::Int) CNN_JAX_INLINE_LAMBDA {
      typename L::Float total = {};
      for (const Tap& tap : rows.taps) {
        if (!inside.value && !contains(p, corner, tap)) continue;
        total += L::load(input + (corner.offset + tap.offset + channel));
      }
      if (!once) total = L::rounded(total, output);
      if (once || p.divisor > 1) total = L::rounded(total / divisor, output);
      L::store(total, output + number * p.channels + channel);
    });
  };
  each_window(rows, p.stride[2] == 1, window, []() {});
}

// As in XLA's rule padding takes part, and what falls on it is lost; a NaN gives way to whatever
// follows it. The gradient through a positive part is none where there is no such part. `kPlain` is
// whether what is pooled is x, and no sums are wanted.
template <bool kPlain, bool kAdds, int kLanes, typename T, typename Given, typename Result>
CNN_JAX_INLINE void gradient_of(const Rows& rows, const T* input, const Given* gradient,
                                Result* result, ChannelSums sums) {
  using L = Lanes<kLanes>;
  using Float = typename L::Float;
  using Int = typename L::Int;
  const Pooling& p = rows.pooling;
  const Int always = Int{} - (p.rectified && p.through ? 0 : 1);
  const auto window = [&](const Corner& corner, int64_t number, int64_t channels,
                          auto inside) CNN_JAX_INLINE_LAMBDA {
    each_vector<kLanes>(channels, [&](int64_t channel, Int fresh) CNN_JAX_INLINE_LAMBDA {
      const T* from = input + channel;
      const auto at = [&](const Tap& tap) CNN_JAX_INLINE_LAMBDA { return corner.offset + tap.offset; };
      const Pooled<kLanes, T, kPlain> pooled(rows, channel);
      Float best = {};
      Int chosen = {};
      int32_t tap_number = 0;
      for (const Tap& tap : rows.taps) {
        const Float value = inside.value || contains(p, corner, tap)
                                ? pooled(from + at(tap))
                                : Float{} + kLowest;
        const Int keep = tap_number == 0 ? Int{} : (best >= value);
        best = keep ? best : value;
        chosen = keep ? chosen : Int{} + tap_number;
        ++tap_number;
      }
      Float given = L::load(gradient + number * p.channels + channel);
      if constexpr (!kPlain) given = ((best > 0.0f) | always) ? given : Float{};
      const Float once = fresh ? given : Float{};
      Float placed = {};
      tap_number = 0;
      for (const Tap& tap : rows.taps) {
        const Int here = chosen == tap_number++;
        if (!inside.value && !contains(p, corner, tap)) continue;
        Result* to = result + (at(tap) + channel);
        const Float part = here ? once : Float{};
        placed += part;
        if constexpr (kAdds) {
          L::store(L::load(to) + part, to);
        } else {
          L::store(here ? given : Float{}, to);
        }
      }
      if constexpr (kPlain) return;
      float* sum = sums.row + channel;
      L::store(L::load(sum) + placed, sum);
    });
  };
  // Sums of rows first: the fewer numbers are added one after the other, the less is lost.
  each_window(rows, false, window, [&]() CNN_JAX_INLINE_LAMBDA {
    if constexpr (kPlain) return;
    for (int64_t channel = 0; channel < p.channels; ++channel) {
      sums.all[channel] += sums.row[channel];
      sums.row[channel] = 0;
    }
  });
}

// The same for windows of one element that leave none out. Result and gradient may be one.
template <int kLanes, typename T>
CNN_JAX_INLINE void gradient_of_each(const Rows& rows, const T* input, const T* gradient,
                                     T* result, ChannelSums sums) {
  using L = Lanes<kLanes>;
  using Float = typename L::Float;
  using Int = typename L::Int;
  const Pooling& p = rows.pooling;
  const Int always = Int{} - (p.rectified && p.through ? 0 : 1);
  const int64_t across = p.count[1] * p.count[2];
  each_block(rows.begin * across, rows.end * across, [&](int64_t begin, int64_t end) {
    each_vector<kLanes>(p.channels, [&](int64_t channel, Int fresh) CNN_JAX_INLINE_LAMBDA {
      const Pooled<kLanes, T> pooled(rows, channel);
      Float total = {};
      for (int64_t at = begin * p.channels + channel; at < end * p.channels; at += p.channels) {
        const Float given = L::load(gradient + at);
        const Float kept = ((pooled(input + at) > 0.0f) | always) ? given : Float{};
        L::store(kept, result + at);
        total += kept;
      }
      float* sum = sums.all + channel;
      L::store(L::load(sum) + (fresh ? total : Float{}), sum);
    });
  });
}

template <int kLanes>
using Length = std::integral_constant<int, kLanes>;

// Calls body(lanes) with the length of the vectors, as a type's value.
template <typename Body>
CNN_JAX_INLINE void by_length(const Rows& rows, const Body& body) {
  const int64_t channels = rows.pooling.channels;
  if constexpr (kMostLanes >= 16) {
    if (channels >= 16) return body(Length<16>());
  }
  if constexpr (kMostLanes >= 8) {
    if (channels >= 8) return body(Length<8>());
  }
  body(Length<4>());
}

CNN_JAX_INLINE bool plain(const Pooling& p) { return !p.biased && !p.rectified && !p.summed; }

template <typename T>
void largest(const Rows& rows, const T* input, T* output) {
  by_length(rows, [&](auto lanes) {
    if (rows.each) return largest_of_each<lanes.value>(rows, input, output);
    if (plain(rows.pooling)) return largest_of<true, lanes.value>(rows, input, output);
    largest_of<false, lanes.value>(rows, input, output);
  });
}

template <typename T, typename Result>
void sums(const Rows& rows, const T* input, Result* output) {
  by_length(rows, [&](auto lanes) { sums_of<lanes.value>(rows, input, output); });
}

template <bool kAdds, typename T, typename Given, typename Result>
void gradient(const Rows& rows, const T* input, const Given* given, Result* result,
              ChannelSums sums) {
  by_length(rows, [&](auto lanes) {
    if constexpr (!kAdds && std::is_same_v<T, Result>) {
      if (rows.each) return gradient_of_each<lanes.value>(rows, input, given, result, sums);
    }
    if (plain(rows.pooling)) {
      return gradient_of<true, kAdds, lanes.value>(rows, input, given, result, sums);
    }
    gradient_of<false, kAdds, lanes.value>(rows, input, given, result, sums);
  });
}

void narrow(const float* from, Bfloat16* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = narrowed(from[i]);
}

}  // namespace

extern const WindowLoops CNN_JAX_PROCESSOR;
const WindowLoops CNN_JAX_PROCESSOR = {
    largest<float>,
    largest<Bfloat16>,
    sums<float, float>,
    sums<Bfloat16, Bfloat16>,
    sums<Bfloat16, float>,
    gradient<false, float, float, float>,
    gradient<false, Bfloat16, Bfloat16, Bfloat16>,
    gradient<false, Bfloat16, float, float>,
    gradient<true, float, float, float>,
    gradient<true, Bfloat16, Bfloat16, float>,
    gradient<true, Bfloat16, float, float>,
    narrow,
};

}  // namespace cnn_jax
