#include "winograd.h"

#include <algorithm>
#include <vector>

#include "primitives.h"
#include "threads.h"
#include "winograd_tiles.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

using dnnl::memory;
using Pictures = WinogradPictures;
using Sizes = std::vector<int64_t>;
using Tiles = WinogradTiles;

// Tiles whose products are taken together: their rows stay in a core's cache.
constexpr int64_t kFewest = 64, kMost = 256, kRowsInCache = 32768;
constexpr int64_t kRowsTogether = 16;
constexpr int64_t kMostSums = int64_t{64} << 20;  // bytes of a kernel gradient's partial sums

size_t bytes(int64_t count) { return static_cast<size_t>(count) * sizeof(float); }

float* floats(const Workspace& workspace) { return static_cast<float*>(workspace.data()); }

// Row `number` of each of sixteen matrices that follow one another.
Square row_of_each(float* matrices, int64_t rows, int64_t columns, int64_t number) {
  return {matrices + number * columns, kPatch * rows * columns, rows * columns};
}

Pictures pictures_of(float* data, const Sizes& size, int64_t channels) {
  return {data, size[0], size[1], channels, size[0] * size[1] * channels, size[1] * channels,
          channels};
}

Tiles tiles_of(int64_t batch, const Sizes& result) { return {batch, result[0], result[1]}; }

void refuse_others(const Configuration& c, int threads) {
  const Sizes ones = {1, 1};
  if (c.type != Type::kFloat32 || c.groups != 1 || c.window != Sizes{kWindow, kWindow} ||
      c.stride != ones || c.dilation != ones) {
    refuse("it is not a float32 window of 3x3 with stride 1, dilation 1 and one group");
  }
  const int64_t sums = threads * kProducts * c.in_channels * c.out_channels;
  if (c.kind == Kind::kKernelGradient && sums > kMostSums / int64_t{sizeof(float)}) {
    refuse("its partial sums would take too much memory");
  }
}

}  // namespace

Winograd::Winograd(const Configuration& c, int threads) : configuration_(c), threads_(threads) {
  refuse_others(c, threads);
  const bool summed = c.kind == Kind::kKernelGradient;
  const int64_t in = c.in_channels, out = c.out_channels;
  tiles_ = tiles_of(c.batch, c.kind == Kind::kInputGradient ? c.input : c.output).count;
  const int64_t share = divided_up(tiles_, threads);
  // A kernel gradient's sums, too, go through the cache once for each block.
  const int64_t wanted = summed ? std::max(2 * kFewest, 2 * in * out / (in + out))
                                : std::clamp(kRowsInCache / (in + out), kFewest, kMost);
  block_ = divided_up(share, divided_up(share, wanted));

  const auto matrices = [](int64_t rows, int64_t columns, memory::format_tag tag) {
    return memory::desc({kProducts, rows, columns}, memory::data_type::f32, tag);
  };
  const auto plain = memory::format_tag::abc, transposed = memory::format_tag::acb;
  const int64_t from = c.kind == Kind::kInputGradient ? out : in, to = in + out - from;
  a_ = summed ? matrices(in, block_, transposed) : matrices(block_, from, plain);
  b_ = summed ? matrices(block_, out, plain) : matrices(from, to, plain);
  c_ = summed ? matrices(in, out, plain) : matrices(block_, to, plain);

  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (summed) {
    dnnl::post_ops added;
    added.append_sum(1.0f);
    attributes.set_post_ops(added);
  }
  const ThreadCount one(1);  // each thread takes its own products
  const dnnl::matmul::primitive_desc product(engine(), a_, b_, c_, attributes);
  refuse_reference(product.impl_info_str());
  scratchpad_ = product.scratchpad_desc();
  product_ = dnnl::matmul(product);
}

int64_t Winograd::parts() const { return divided_up(tiles_, block_); }

void Winograd::run(float* source, float* weights, float* destination,
                   const Finishing& finish) const {
  const Configuration& c = configuration_;
  const Pictures pictures = pictures_of(source, c.input, c.in_channels);
  const Pictures results = pictures_of(destination, c.output, c.out_channels);
  switch (c.kind) {
    case Kind::kForward:
      return correlate(pictures, weights, results, c.padding_low, finish);
    case Kind::kInputGradient:
      return correlate(results, weights, pictures,
                       {kWindow - 1 - c.padding_low[0], kWindow - 1 - c.padding_low[1]}, finish);
    case Kind::kKernelGradient:
      return kernel_gradient(pictures, results, weights);
  }
}

void Winograd::multiply(float* a, float* b, float* c, void* scratchpad) const {
  product_.execute(stream(), {{DNNL_ARG_SRC, memory(a_, engine(), a)},
                              {DNNL_ARG_WEIGHTS, memory(b_, engine(), b)},
                              {DNNL_ARG_DST, memory(c_, engine(), c)},
                              {DNNL_ARG_SCRATCHPAD, memory(scratchpad_, engine(), scratchpad)}});
}

void Winograd::correlate(const Pictures& given, float* kernel, const Pictures& result,
                         const Sizes& padding, const Finishing& finish) const {
  const int64_t from = given.channels, to = result.channels;
  const Workspace transformed_kernel(b_.get_size());
  transform_kernel(kernel, from, to, floats(transformed_kernel));

  const Tiles tiles(configuration_.batch, result.rows, result.columns);
  for_each(threads_, parts(), [&](int64_t number) {
    const int64_t begin = number * block_, end = std::min(tiles.count, begin + block_);
    const Workspace patches(a_.get_size()), products(c_.get_size());
    const Workspace scratchpad(scratchpad_.get_size());
    const Workspace space(bytes(from + to));
    float* const nothing = floats(space);
    float* const unread = nothing + from;
    std::fill_n(nothing, from, 0.0f);
    tiles.each(begin, end, [&](int64_t tile, int64_t picture, int64_t top, int64_t left) {
      given.square<kPatch>(
          picture, top - padding[0], left - padding[1], nothing, [&](const auto& patch) {
            transform_patch(patch, row_of_each(floats(patches), block_, from, tile), from);
          });
    });
    multiply(floats(patches), floats(transformed_kernel), floats(products), scratchpad.data());
    tiles.each(begin, end, [&](int64_t tile, int64_t picture, int64_t top, int64_t left) {
      result.square<kTile>(picture, top, left, unread, [&](const auto& square) {
        restore_tile(row_of_each(floats(products), block_, to, tile), square, to);
      });
    });
    if (!finish) return;
    tiles.each_row(begin, end, [&](int64_t picture, int64_t pixel, int64_t pixels) {
      finish(number, picture * tiles.height * tiles.width + pixel, pixels);
    });
  });
}

// An input gradient correlates with the kernel turned by half a circle.
void Winograd::transform_kernel(float* kernel, int64_t from, int64_t to,
                                float* transformed) const {
  const bool turned = configuration_.kind == Kind::kInputGradient;
  const int64_t element = turned ? -from * to : from * to;
  float* const first = turned ? kernel + (kWindow * kWindow - 1) * from * to : kernel;
  for_each(threads_, divided_up(from, kRowsTogether), [&](int64_t number) {
    const int64_t end = std::min(from, (number + 1) * kRowsTogether);
    for (int64_t row = number * kRowsTogether; row < end; ++row) {
      transform_window({first + row * to, kWindow * element, element},
                       row_of_each(transformed, from, to, row), to);
    }
  });
}

// Each part of the tiles has sums of its own, so that the result doesn't depend on which thread is
// the faster one.
void Winograd::kernel_gradient(const Pictures& source, const Pictures& destination,
                               float* kernel) const {
  const int64_t in = source.channels, out = destination.channels;
  const Sizes& padding = configuration_.padding_low;
  const Tiles tiles(configuration_.batch, destination.rows, destination.columns);
  const int64_t share = divided_up(tiles.count, threads_);
  const int64_t parts = divided_up(tiles.count, share);
  const int64_t step = kProducts * in * out;
  const Workspace sums(bytes(parts * step));

  for_each(threads_, parts, [&](int64_t part) {
    float* own = floats(sums) + part * step;
    std::fill_n(own, step, 0.0f);
    const Workspace patches(a_.get_size()), gradients(b_.get_size());
    const Workspace scratchpad(scratchpad_.get_size());
    const Workspace space(bytes(std::max(in, out)));
    float* const nothing = floats(space);
    std::fill_n(nothing, std::max(in, out), 0.0f);
    const int64_t last = std::min(tiles.count, (part + 1) * share);
    for (int64_t begin = part * share; begin < last; begin += block_) {
      const int64_t end = std::min(last, begin + block_);
      if (end - begin < block_) {
        std::fill_n(floats(patches), kProducts * block_ * in, 0.0f);
        std::fill_n(floats(gradients), kProducts * block_ * out, 0.0f);
      }
      tiles.each(begin, end, [&](int64_t tile, int64_t picture, int64_t top, int64_t left) {
        source.square<kPatch>(
            picture, top - padding[0], left - padding[1], nothing, [&](const auto& patch) {
              transform_patch(patch, row_of_each(floats(patches), block_, in, tile), in);
            });
        destination.square<kTile>(picture, top, left, nothing, [&](const auto& square) {
          transform_tile(square, row_of_each(floats(gradients), block_, out, tile), out);
        });
      });
      multiply(floats(patches), floats(gradients), own, scratchpad.data());
    }
  });
  restore_kernel(floats(sums), parts, step, kernel);
}

// Adds up the parts' sums, in the first of them, and takes them back to the window's elements.
void Winograd::restore_kernel(float* sums, int64_t parts, int64_t step, float* kernel) const {
  const int64_t in = configuration_.in_channels, out = configuration_.out_channels;
  for_each(threads_, divided_up(in, kRowsTogether), [&](int64_t number) {
    const int64_t begin = number * kRowsTogether, end = std::min(in, begin + kRowsTogether);
    for (int64_t part = 1; part < parts; ++part) {
      for (int i = 0; i < kProducts; ++i) {
        float* const total = sums + (i * in + begin) * out;
        const float* const added = total + part * step;
        for (int64_t j = 0; j < (end - begin) * out; ++j) total[j] += added[j];
      }
    }
    for (int64_t row = begin; row < end; ++row) {
      restore_window(row_of_each(sums, in, out, row),
                     {kernel + row * out, kWindow * in * out, in * out}, out);
    }
  });
}

}  // namespace cnn_jax
