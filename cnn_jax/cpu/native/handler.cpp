// What the library shows to the outside: one XLA handler and a few C functions.
#include <algorithm>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "convolution.h"
#include "host_threads.h"
#include "matrix_units.h"
#include "onednn.h"
#include "past_caches.h"
#include "pooling.h"
#include "primitives.h"
#include "product.h"
#include "workspace.h"
#include "xla/ffi/api/ffi.h"

#define CNN_JAX_EXPORT extern "C" __attribute__((visibility("default")))

namespace cnn_jax {
namespace {

namespace ffi = xla::ffi;

ffi::DataType data_type(Type type) {
  return type == Type::kFloat32 ? ffi::DataType::F32 : ffi::DataType::BF16;
}

bool fits(const ffi::AnyBuffer& buffer, Type type, int64_t size) {
  return buffer.element_type() == data_type(type) &&
         static_cast<int64_t>(buffer.element_count()) == size;
}

// The memory of an operand or a result; null where it is not as described.
void* operand(const ffi::RemainingArgs& operands, size_t i, Type type, int64_t size) {
  const auto buffer = operands.get<ffi::AnyBuffer>(i);
  return buffer && fits(*buffer, type, size) ? buffer->untyped_data() : nullptr;
}

void* result(const ffi::RemainingRets& results, size_t i, Type type, int64_t size) {
  auto buffer = results.get<ffi::AnyBuffer>(i);
  return buffer && fits(**buffer, type, size) ? (*buffer)->untyped_data() : nullptr;
}

// Runs a handler, from which no exception may go on into XLA.
template <typename Body>
ffi::Error guarded(const char* what, const Body& body) {
  try {
    return body();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string(what) + ": " + error.what());
  } catch (...) {
    return ffi::Error::Internal(std::string(what) + ": unknown error");
  }
}

ForEach on_threads_of(ffi::ThreadPool& threads) {
  return [&](int64_t count, const std::function<void(int64_t)>& body) {
    for_each(threads, count, body);
  };
}

// Operands come in the order source or destination, weights or destination, and for what is computed
// of the result the bias or the ReLU's result; see Python's side. Results: that of the convolution,
// and for the gradient through a ReLU its sums, in float32.
ffi::Error convolution(ffi::ThreadPool threads, ffi::RemainingArgs operands,
                       ffi::RemainingRets results, ffi::Span<const int64_t> numbers) {
  return guarded("oneDNN", [&]() -> ffi::Error {
    const std::vector<int64_t> key(numbers.begin(), numbers.end());
    Configuration c;
    std::string why;
    if (!parse(key.data(), key.size(), &c, &why)) return ffi::Error::InvalidArgument(why);

    const bool summed = c.after == After::kThroughRelu;
    const size_t given = c.after == After::kNothing ? 2 : 3, made = summed ? 2 : 1;
    if (operands.size() != given || results.size() != made) {
      return ffi::Error::InvalidArgument("the arrays are not as many as the configuration says");
    }
    int64_t sizes[] = {c.source_size(), c.weights_size(), c.destination_size()};
    Arrays arrays = {};
    void** places[] = {&arrays.source, &arrays.weights, &arrays.destination};
    if (c.kind == Kind::kInputGradient) {
      std::swap(sizes[0], sizes[2]);
      std::swap(places[0], places[2]);
    } else if (c.kind == Kind::kKernelGradient) {
      std::swap(sizes[1], sizes[2]);
      std::swap(places[1], places[2]);
    }
    *places[0] = operand(operands, 0, c.type, sizes[0]);
    *places[1] = operand(operands, 1, c.type, sizes[1]);
    *places[2] = result(results, 0, c.type, sizes[2]);
    if (c.after != After::kNothing) {
      const int64_t channels = c.channels_of_result();
      arrays.further = operand(operands, 2, c.type, summed ? sizes[2] : channels);
      if (summed) {
        arrays.sums = static_cast<float*>(result(results, 1, Type::kFloat32, channels));
      }
    }
    if (!arrays.source || !arrays.weights || !arrays.destination ||
        (given > 2 && !arrays.further) || (summed && !arrays.sums)) {
      return ffi::Error::InvalidArgument("the arrays are not those of the configuration");
    }
    run(key, c, arrays, on_threads_of(threads));
    return ffi::Error::Success();
  });
}

// Operands: the input, the bias if there is one, and for a gradient that of the output. Results:
// the output or the gradient, and the gradient's sums, in float32, if they are wanted.
ffi::Error pooling(ffi::ThreadPool threads, ffi::RemainingArgs operands,
                   ffi::RemainingRets results, ffi::Span<const int64_t> numbers) {
  return guarded("pooling", [&]() -> ffi::Error {
    Pooling p;
    std::string why;
    if (!parse(numbers.begin(), numbers.size(), &p, &why)) {
      return ffi::Error::InvalidArgument(why);
    }
    const bool gradient = p.kind == PoolingKind::kGradientOfLargest;
    const size_t given = 1 + p.biased + gradient, made = 1 + p.summed;
    if (operands.size() != given || results.size() != made) {
      return ffi::Error::InvalidArgument("the arrays are not as many as the configuration says");
    }
    PoolingArrays arrays = {};
    arrays.input = operand(operands, 0, p.type, p.input_size());
    if (p.biased) arrays.bias = operand(operands, 1, p.type, p.channels);
    const Type type = p.result_type();
    if (gradient) arrays.gradient = operand(operands, given - 1, type, p.output_size());
    arrays.result = result(results, 0, type, gradient ? p.input_size() : p.output_size());
    if (p.summed) {
      arrays.sums = static_cast<float*>(result(results, 1, Type::kFloat32, p.channels));
    }
    if (!arrays.input || !arrays.result || (p.biased && !arrays.bias) ||
        (gradient && !arrays.gradient) || (p.summed && !arrays.sums)) {
      return ffi::Error::InvalidArgument("the arrays are not those of the configuration");
    }
    run(p, arrays, on_threads_of(threads));
    return ffi::Error::Success();
  });
}

ffi::Error product(ffi::ThreadPool threads, ffi::AnyBuffer left, ffi::AnyBuffer right,
                   ffi::Result<ffi::AnyBuffer> result, ffi::Span<const int64_t> numbers) {
  return guarded("oneDNN", [&]() -> ffi::Error {
    Product p;
    std::string why;
    if (!parse(numbers.begin(), numbers.size(), &p, &why)) {
      return ffi::Error::InvalidArgument(why);
    }
    if (!fits(left, p.type, p.left_size()) || !fits(right, p.type, p.right_size()) ||
        !fits(*result, p.type, p.result_size())) {
      return ffi::Error::InvalidArgument("the arrays are not those of the configuration");
    }
    run(p, {left.untyped_data(), right.untyped_data(), result->untyped_data()},
        on_threads_of(threads));
    return ffi::Error::Success();
  });
}

// Copies the reason, as much of it as there is room for.
void tell(const std::string& reason, char* why, size_t why_size) {
  if (why_size == 0) return;
  const size_t length = std::min(reason.size(), why_size - 1);
  std::memcpy(why, reason.data(), length);
  why[length] = '\0';
}

}  // namespace
}  // namespace cnn_jax

CNN_JAX_EXPORT XLA_FFI_Error* cnn_jax_pooling(XLA_FFI_CallFrame* call_frame);

XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_jax_pooling, cnn_jax::pooling,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<xla::ffi::Span<const int64_t>>("configuration"));

CNN_JAX_EXPORT XLA_FFI_Error* cnn_jax_convolution(XLA_FFI_CallFrame* call_frame);

XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_jax_convolution, cnn_jax::convolution,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<xla::ffi::Span<const int64_t>>("configuration"));

CNN_JAX_EXPORT XLA_FFI_Error* cnn_jax_product(XLA_FFI_CallFrame* call_frame);

XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_jax_product, cnn_jax::product,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<xla::ffi::Span<const int64_t>>("configuration"));

// Returns 1 where the convolution can be run, 2 where only by oneDNN's general kernel, or by one for
// older processors; else 0, with the reason written to `why`.
CNN_JAX_EXPORT int cnn_jax_convolution_supported(const int64_t* numbers, size_t count, char* why,
                                                 size_t why_size) {
  try {
    std::string reason;
    const auto found = cnn_jax::supported(std::vector<int64_t>(numbers, numbers + count), &reason);
    if (found != cnn_jax::Support::kNone) return static_cast<int>(found);
    cnn_jax::tell(reason, why, why_size);
  } catch (...) {
    if (why_size > 0) why[0] = '\0';
  }
  return 0;
}

// Returns 1 where the product can be run; else 0, with the reason written to `why`.
CNN_JAX_EXPORT int cnn_jax_product_supported(const int64_t* numbers, size_t count, char* why,
                                             size_t why_size) {
  try {
    std::string reason;
    cnn_jax::Product product;
    if (cnn_jax::parse(numbers, count, &product, &reason) &&
        cnn_jax::supported(product, &reason)) {
      return 1;
    }
    cnn_jax::tell(reason, why, why_size);
  } catch (...) {
    if (why_size > 0) why[0] = '\0';
  }
  return 0;
}

// The configuration format that this library reads; Python refuses a library of another one.
CNN_JAX_EXPORT int cnn_jax_format() { return cnn_jax::kConfigurationFormat; }

// Whether the processor has matrix units for bfloat16, and the system lets the process use them.
CNN_JAX_EXPORT int cnn_jax_matrix_units() {
  try {
    return cnn_jax::matrix_unit_loops() != nullptr;
  } catch (...) {
    return 0;
  }
}

// How many bytes of a result are still in the caches when it is read.
CNN_JAX_EXPORT int64_t cnn_jax_kept_in_caches() {
  try {
    return cnn_jax::kept_in_caches();
  } catch (...) {
    return 0;
  }
}

// Gives back the memory that the library keeps between calls.
CNN_JAX_EXPORT void cnn_jax_release() {
  try {
    cnn_jax::clear_primitives();
    cnn_jax::clear_products();
    cnn_jax::release_workspaces();
  } catch (...) {
  }
}
