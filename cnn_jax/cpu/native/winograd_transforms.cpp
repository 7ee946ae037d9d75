#include "winograd_transforms.h"

#include "widest.h"

namespace cnn_jax {
namespace {

// One axis of each map: `from` and `to` are `step` apart.
struct PatchAxis {  // B'
  static constexpr int kFrom = kPatch, kTo = kPatch;
  static CNN_JAX_INLINE void map(const float* from, float* to, int step) {
    const float a = from[0], b = from[step], c = from[2 * step], d = from[3 * step];
    to[0] = a - c, to[step] = b + c, to[2 * step] = c - b, to[3 * step] = b - d;
  }
};

struct WindowAxis {  // G
  static constexpr int kFrom = kWindow, kTo = kPatch;
  static CNN_JAX_INLINE void map(const float* from, float* to, int step) {
    const float a = from[0], b = from[step], c = from[2 * step];
    const float even = 0.5f * (a + c), odd = 0.5f * b;
    to[0] = a, to[step] = even + odd, to[2 * step] = even - odd, to[3 * step] = c;
  }
};

struct TileAxis {  // A
  static constexpr int kFrom = kTile, kTo = kPatch;
  static CNN_JAX_INLINE void map(const float* from, float* to, int step) {
    const float a = from[0], b = from[step];
    to[0] = a, to[step] = a + b, to[2 * step] = a - b, to[3 * step] = -b;
  }
};

struct TileBackAxis {  // A'
  static constexpr int kFrom = kPatch, kTo = kTile;
  static CNN_JAX_INLINE void map(const float* from, float* to, int step) {
    const float a = from[0], b = from[step], c = from[2 * step], d = from[3 * step];
    to[0] = a + b + c, to[step] = b - c - d;
  }
};

struct WindowBackAxis {  // G'
  static constexpr int kFrom = kPatch, kTo = kWindow;
  static CNN_JAX_INLINE void map(const float* from, float* to, int step) {
    const float a = from[0], b = from[step], c = from[2 * step], d = from[3 * step];
    const float half = 0.5f * (b + c);
    to[0] = a + half, to[step] = 0.5f * (b - c), to[2 * step] = half + d;
  }
};

template <typename Axis, typename From, typename To>
CNN_JAX_INLINE void along_both(const From& from, const To& to, int64_t channels) {
  constexpr int kFrom = Axis::kFrom, kTo = Axis::kTo;
#pragma GCC ivdep
  for (int64_t channel = 0; channel < channels; ++channel) {
    float given[kFrom * kFrom], half[kTo * kFrom], result[kTo * kTo];
    for (int i = 0; i < kFrom * kFrom; ++i) given[i] = from.row(i / kFrom, i % kFrom)[channel];
    for (int column = 0; column < kFrom; ++column) Axis::map(given + column, half + column, kFrom);
    for (int row = 0; row < kTo; ++row) Axis::map(half + row * kFrom, result + row * kTo, 1);
    for (int i = 0; i < kTo * kTo; ++i) to.row(i / kTo, i % kTo)[channel] = result[i];
  }
}

}  // namespace

CNN_JAX_WIDEST void transform_patch(const Square& patch, const Square& transformed, int64_t channels) {
  along_both<PatchAxis>(patch, transformed, channels);
}

CNN_JAX_WIDEST void transform_patch(const LooseSquare<kPatch>& patch, const Square& transformed,
                                    int64_t channels) {
  along_both<PatchAxis>(patch, transformed, channels);
}

CNN_JAX_WIDEST void transform_window(const Square& window, const Square& transformed,
                                     int64_t channels) {
  along_both<WindowAxis>(window, transformed, channels);
}

CNN_JAX_WIDEST void transform_tile(const Square& tile, const Square& transformed, int64_t channels) {
  along_both<TileAxis>(tile, transformed, channels);
}

CNN_JAX_WIDEST void transform_tile(const LooseSquare<kTile>& tile, const Square& transformed,
                                   int64_t channels) {
  along_both<TileAxis>(tile, transformed, channels);
}

CNN_JAX_WIDEST void restore_tile(const Square& products, const Square& tile, int64_t channels) {
  along_both<TileBackAxis>(products, tile, channels);
}

CNN_JAX_WIDEST void restore_tile(const Square& products, const LooseSquare<kTile>& tile,
                                 int64_t channels) {
  along_both<TileBackAxis>(products, tile, channels);
}

CNN_JAX_WIDEST void restore_window(const Square& products, const Square& window, int64_t channels) {
  along_both<WindowBackAxis>(products, window, channels);
}

}  // namespace cnn_jax
