#include "pooling.h"

#include <algorithm>
#include <vector>

#include "pooling_windows.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

constexpr int64_t kFormat = 2;
constexpr int64_t kNumbers = 29;
constexpr int64_t kMost = int64_t{1} << 31;      // of any size
constexpr double kMostElements = 1e12;           // of any array
constexpr int64_t kMostTaps = 1 << 12;
constexpr int64_t kWorthARange = 1 << 15;        // elements read
constexpr int64_t kMostRanges = 16;

template <typename Body>
bool on_all_axes(const Body& body) {
  return body(0) && body(1) && body(2);
}

// Whether no element belongs to two windows.
bool apart(const Pooling& p) {
  return on_all_axes([&](int axis) {
    return p.count[axis] == 1 || p.stride[axis] > (p.window[axis] - 1) * p.dilation[axis];
  });
}

// Whether every element belongs to a window, and none to two.
bool tiled(const Pooling& p) {
  return on_all_axes([&](int axis) {
    return p.dilation[axis] == 1 && p.low[axis] == 0 && p.stride[axis] == p.window[axis] &&
           p.count[axis] * p.stride[axis] == p.size[axis];
  });
}

std::vector<Tap> taps_of(const Pooling& p) {
  std::vector<Tap> taps;
  for (int64_t a = 0; a < p.window[0]; ++a) {
    for (int64_t b = 0; b < p.window[1]; ++b) {
      for (int64_t c = 0; c < p.window[2]; ++c) {
        Tap tap = {{a * p.dilation[0], b * p.dilation[1], c * p.dilation[2]}, 0};
        tap.offset =
            ((tap.place[0] * p.size[1] + tap.place[1]) * p.size[2] + tap.place[2]) * p.channels;
        taps.push_back(tap);
      }
    }
  }
  return taps;
}

Taps view(const std::vector<Tap>& taps) {
  return {taps.data(), static_cast<int64_t>(taps.size())};
}

// The pieces that the work is cut into, whatever the number of threads, so that sums are the same
// with any. A piece is some rows along the first axis of one outer array, or several such arrays.
struct Pieces {
  int64_t rows;  // of an outer array
  int64_t total;
  int64_t count;

  Pieces(const Pooling& p, bool by_row)
      : rows(by_row ? p.count[0] : 1), total(p.outer * rows) {
    count = std::clamp<int64_t>(p.input_size() / kWorthARange, 1, std::min(total, kMostRanges));
  }

  // Calls body(outer, first row, past the last row) for each outer array of the piece.
  template <typename Body>
  void each(int64_t piece, const Body& body) const {
    const int64_t end = (piece + 1) * total / count;
    for (int64_t at = piece * total / count; at < end;) {
      const int64_t outer = at / rows, row = at % rows;
      const int64_t stop = std::min(rows, row + end - at);
      body(outer, row, stop);
      at += stop - row;
    }
  }
};

template <typename T, typename Result>
void forward(const Pooling& p, const PoolingArrays& arrays, const ForEach& for_each,
             void (*loop)(const Rows&, const T*, Result*)) {
  const std::vector<Tap> taps = taps_of(p);
  const std::vector<float> bias = bias_of(p, arrays.bias);
  const Pieces pieces(p, true);
  const bool each = tiled(p) && taps.size() == 1;
  const int64_t in = p.input_size() / p.outer, out = p.output_size() / p.outer;
  for_each(pieces.count, [&](int64_t piece) {
    pieces.each(piece, [&](int64_t outer, int64_t begin, int64_t end) {
      loop(Rows{p, view(taps), begin, end, bias.data(), each},
           static_cast<const T*>(arrays.input) + outer * in,
           static_cast<Result*>(arrays.result) + outer * out);
    });
  });
}

void place(const Rows& rows, const float* input, const float* gradient, float* result,
           ChannelSums sums) {
  window_loops().place(rows, input, gradient, result, sums);
}

void place(const Rows& rows, const Bfloat16* input, const Bfloat16* gradient, Bfloat16* result,
           ChannelSums sums) {
  window_loops().place_bfloat16(rows, input, gradient, result, sums);
}

void place(const Rows& rows, const Bfloat16* input, const float* gradient, float* result,
           ChannelSums sums) {
  window_loops().place_wide(rows, input, gradient, result, sums);
}

// The gradient of one whole outer array whose windows overlap.
void add(const Rows& rows, const float* input, const float* gradient, float* result,
         ChannelSums sums) {
  std::fill_n(result, rows.pooling.input_size() / rows.pooling.outer, 0.0f);
  window_loops().add(rows, input, gradient, result, sums);
}

void add(const Rows& rows, const Bfloat16* input, const Bfloat16* gradient, Bfloat16* result,
         ChannelSums sums) {
  const int64_t size = rows.pooling.input_size() / rows.pooling.outer;
  const Workspace wide(static_cast<size_t>(size) * sizeof(float));
  float* total = static_cast<float*>(wide.data());
  std::fill_n(total, size, 0.0f);
  window_loops().add_bfloat16(rows, input, gradient, total, sums);
  window_loops().narrow(total, result, size);
}

void add(const Rows& rows, const Bfloat16* input, const float* gradient, float* result,
         ChannelSums sums) {
  std::fill_n(result, rows.pooling.input_size() / rows.pooling.outer, 0.0f);
  window_loops().add_wide(rows, input, gradient, result, sums);
}

template <typename T, typename Result>
void gradient(const Pooling& p, const PoolingArrays& arrays, const ForEach& for_each) {
  const std::vector<Tap> taps = taps_of(p);
  const std::vector<float> bias = bias_of(p, arrays.bias);
  const bool alone = apart(p), filled = tiled(p), each = filled && taps.size() == 1;
  const Pieces pieces(p, filled);
  const int64_t in = p.input_size() / p.outer, out = p.output_size() / p.outer;
  const size_t channels = static_cast<size_t>(p.channels);
  std::vector<float> sums(2 * channels * pieces.count);
  for_each(pieces.count, [&](int64_t piece) {
    pieces.each(piece, [&](int64_t outer, int64_t begin, int64_t end) {
      const Rows rows{p, view(taps), begin, filled ? end : p.count[0], bias.data(), each};
      const T* input = static_cast<const T*>(arrays.input) + outer * in;
      const Result* given = static_cast<const Result*>(arrays.gradient) + outer * out;
      Result* result = static_cast<Result*>(arrays.result) + outer * in;
      const ChannelSums here = {sums.data() + 2 * piece * channels,
                                sums.data() + (2 * piece + 1) * channels};
      if (!alone) return add(rows, input, given, result, here);
      if (!filled) std::fill_n(result, in, Result{});
      place(rows, input, given, result, here);
    });
  });
  if (!p.summed) return;
  std::fill_n(arrays.sums, channels, 0.0f);
  for (int64_t piece = 0; piece < pieces.count; ++piece) {
    for (size_t i = 0; i < channels; ++i) arrays.sums[i] += sums[2 * piece * channels + i];
  }
}

}  // namespace

bool parse(const int64_t* numbers, size_t count, Pooling* pooling, std::string* why) {
  const auto refuse = [&](const char* reason) { return *why = reason, false; };
  if (count != kNumbers || numbers[0] != kFormat) return refuse("the format is another one");
  for (size_t i = 0; i < count; ++i) {
    if (numbers[i] < 0 || numbers[i] >= kMost) return refuse("a number is too large or negative");
  }
  const int64_t* next = numbers + 1;
  const int64_t kind = *next++, type = *next++;
  if (kind > 2 || type > 1) return refuse("the kind or the type is unknown");
  Pooling& p = *pooling;
  p.kind = static_cast<PoolingKind>(kind);
  p.type = static_cast<Type>(type);
  p.biased = *next++ != 0;
  p.rectified = *next++ != 0;
  p.through = *next++ != 0;
  p.summed = *next++ != 0;
  const int64_t precision = *next++;
  if (precision > 2) return refuse("the precision is unknown");
  p.precision = static_cast<Precision>(precision);
  p.divisor = *next++;
  if (p.kind == PoolingKind::kSum && (p.biased || p.rectified)) {
    return refuse("a sum is of the elements as they are");
  }
  if (p.kind != PoolingKind::kGradientOfLargest && (p.through || p.summed)) {
    return refuse("only a gradient goes through what is pooled, or is summed");
  }
  if (p.kind != PoolingKind::kSum && p.divisor != 1) return refuse("only sums are divided");
  if (p.precision != Precision::kOfInput &&
      (p.type == Type::kFloat32 || p.kind == PoolingKind::kLargest)) {
    return refuse("only sums and gradients of bfloat16 have a precision of their own");
  }
  p.outer = *next++;
  p.channels = *next++;
  for (int64_t* field : {p.size, p.window, p.stride, p.dilation, p.low, p.count}) {
    std::copy_n(next, 3, field);
    next += 3;
  }
  const auto real = [](int64_t number) { return static_cast<double>(number); };
  double input = real(p.outer) * real(p.channels), output = input, taps = 1;
  double reach = real(p.channels);  // from a window's first element to past its last, in memory
  for (int axis = 0; axis < 3; ++axis) {
    if (!p.size[axis] || !p.window[axis] || !p.stride[axis] || !p.dilation[axis] ||
        !p.count[axis]) {
      return refuse("a size is zero");
    }
    reach *= std::max(real(p.size[axis]), real(p.window[axis]) * real(p.dilation[axis]));
    input *= real(p.size[axis]), output *= real(p.count[axis]), taps *= real(p.window[axis]);
  }
  if (p.divisor == 0) return refuse("sums are divided by zero");
  if (p.outer == 0 || p.channels < kFewestChannels) return refuse("there are too few channels");
  if (reach > kMostElements || input > kMostElements || output > kMostElements || taps > kMostTaps) {
    return refuse("an array or a window is too large");
  }
  return true;
}

std::vector<float> bias_of(const Pooling& p, const void* bias) {
  std::vector<float> values(static_cast<size_t>(p.channels), -0.0f);
  if (!p.biased) return values;
  for (int64_t channel = 0; channel < p.channels; ++channel) {
    values[channel] = p.type == Type::kFloat32
                          ? static_cast<const float*>(bias)[channel]
                          : widened(static_cast<const Bfloat16*>(bias)[channel]);
  }
  return values;
}

void run(const Pooling& p, const PoolingArrays& arrays, const ForEach& for_each) {
  const WindowLoops& loops = window_loops();
  const bool single = p.type == Type::kFloat32, wide = p.precision == Precision::kWide;
  switch (p.kind) {
    case PoolingKind::kLargest:
      return single ? forward(p, arrays, for_each, loops.largest)
                    : forward(p, arrays, for_each, loops.largest_bfloat16);
    case PoolingKind::kSum:
      return single   ? forward(p, arrays, for_each, loops.sums)
             : wide   ? forward(p, arrays, for_each, loops.sums_wide)
                      : forward(p, arrays, for_each, loops.sums_bfloat16);
    case PoolingKind::kGradientOfLargest:
      return single   ? gradient<float, float>(p, arrays, for_each)
             : wide   ? gradient<Bfloat16, float>(p, arrays, for_each)
                      : gradient<Bfloat16, Bfloat16>(p, arrays, for_each);
  }
}

}  // namespace cnn_jax
