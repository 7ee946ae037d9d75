#include "primitives.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "store.h"

namespace cnn_jax {
namespace {

using dnnl::algorithm;
using dnnl::memory;
using dnnl::prop_kind;
using Dims = memory::dims;

constexpr size_t kKept = 512;   // sets of primitives kept at the most
constexpr int64_t kVector = 16;  // channels

Dims with_front(Dims front, const std::vector<int64_t>& rest) {
  front.insert(front.end(), rest.begin(), rest.end());
  return front;
}

memory::format_tag channels_last(size_t rank) {
  const memory::format_tag tags[] = {memory::format_tag::nwc, memory::format_tag::nhwc,
                                     memory::format_tag::ndhwc};
  return tags[rank - 1];
}

// The array as the caller holds it. Strides along axes of size 1 mean nothing, so that an array
// may lie channels-last without its strides saying so.
memory::desc described(const Dims& sizes, memory::data_type type, const Dims& strides) {
  const memory::desc last(sizes, type, channels_last(sizes.size() - 2));
  const Dims expected = last.get_strides();
  for (size_t axis = 0; axis < sizes.size(); ++axis) {
    if (sizes[axis] > 1 && strides[axis] != expected[axis]) {
      return memory::desc(sizes, type, strides);
    }
  }
  return last;
}

memory::desc laid_channels_last(const memory::desc& given) {
  const Dims sizes = given.get_dims();
  return memory::desc(sizes, given.get_data_type(), channels_last(sizes.size() - 2));
}

// What the convolution works on: arrays of which one lies channels-last do so both, others go
// through the layout that oneDNN prefers. It has no fast kernels for two layouts at once.
memory::desc working(const memory::desc& given, const memory::desc& other) {
  const memory::desc last = laid_channels_last(given);
  if (given == last || other == laid_channels_last(other)) return last;
  return memory::desc(given.get_dims(), given.get_data_type(), memory::format_tag::any);
}

enum class Direction { kRead, kWrite };

Operand operand(const memory::desc& given, const memory::desc& wanted, Direction direction) {
  Operand result{given, wanted, {}};
  if (given == wanted) return result;
  const auto& from = direction == Direction::kRead ? given : wanted;
  const auto& to = direction == Direction::kRead ? wanted : given;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::library);
  result.copy = dnnl::reorder(
      dnnl::reorder::primitive_desc(engine(), from, engine(), to, attributes));
  return result;
}

Direction direction(Kind kind, Kind writes) {
  return kind == writes ? Direction::kWrite : Direction::kRead;
}

std::shared_ptr<const Primitives> by_winograd(const memory::desc& source,
                                              const memory::desc& weights,
                                              const memory::desc& destination,
                                              const Configuration& c, int threads) {
  const auto laid = [](const memory::desc& given, memory::format_tag tag) {
    return memory::desc(given.get_dims(), given.get_data_type(), tag);
  };
  const auto pictures = memory::format_tag::nhwc;
  const auto window = c.kind == Kind::kInputGradient ? memory::format_tag::cdab
                                                     : memory::format_tag::hwio;
  auto result = std::make_shared<Primitives>();
  result->winograd = std::make_unique<const Winograd>(c, threads);
  result->source = operand(source, laid(source, pictures), direction(c.kind, Kind::kInputGradient));
  result->weights =
      operand(weights, laid(weights, window), direction(c.kind, Kind::kKernelGradient));
  result->destination =
      operand(destination, laid(destination, pictures), direction(c.kind, Kind::kForward));
  return result;
}

// oneDNN's kernel gradients of single elements first gather the inputs that a stride leaves, whole
// vectors of channels at once, in scratch memory that has room for the channels alone.
bool writes_past_scratch(const Configuration& c, const std::string& implementation) {
  const bool strided = std::any_of(c.stride.begin(), c.stride.end(), [](auto s) { return s > 1; });
  return strided && c.in_channels / c.groups < kVector &&
         implementation.find("1x1") != std::string::npos;
}

bool has_avx512() {
  const auto least = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & least) == least;
}

template <typename Descriptor, typename Primitive>
std::shared_ptr<const Primitives> assemble(const Descriptor& descriptor, const memory::desc& source,
                                           const memory::desc& weights,
                                           const memory::desc& destination,
                                           const memory::desc& source_wanted,
                                           const memory::desc& weights_wanted,
                                           const memory::desc& destination_wanted, Kind kind) {
  const std::string implementation = descriptor.impl_info_str();
  refuse_reference(implementation);
  auto result = std::make_shared<Primitives>();
  result->convolution = Primitive(descriptor);
  result->source = operand(source, source_wanted, direction(kind, Kind::kInputGradient));
  result->weights = operand(weights, weights_wanted, direction(kind, Kind::kKernelGradient));
  result->destination = operand(destination, destination_wanted, direction(kind, Kind::kForward));
  result->scratchpad = descriptor.scratchpad_desc();
  result->general = (":" + implementation).find(":gemm") != std::string::npos;
  result->older = implementation == "jit:avx2" && has_avx512();
  return result;
}

struct Key {
  std::vector<int64_t> numbers;
  int threads;
  bool operator<(const Key& other) const {
    return std::tie(threads, numbers) < std::tie(other.threads, other.numbers);
  }
};

// Never destroyed: threads of the host may still be running when the process ends.
Store<Key, Primitives>& store() {
  static auto& instance = *std::make_unique<Store<Key, Primitives>>(kKept).release();
  return instance;
}

}  // namespace

const dnnl::engine& engine() {
  static const dnnl::engine& instance =
      *std::make_unique<dnnl::engine>(dnnl::engine::kind::cpu, 0).release();
  return instance;
}

dnnl::stream& stream() {
  thread_local dnnl::stream instance(engine());
  return instance;
}

memory::data_type element(Type type) {
  return type == Type::kFloat32 ? memory::data_type::f32 : memory::data_type::bf16;
}

void refuse(const char* why) { throw dnnl::error(dnnl_unimplemented, why); }

void refuse_reference(const std::string& implementation) {
  if (implementation.rfind("ref", 0) == 0) {
    refuse("oneDNN has only its reference kernel for this shape");
  }
}

std::shared_ptr<const Primitives> make_primitives(const Configuration& c, int threads) {
  const auto type = element(c.type);
  const bool grouped = c.groups > 1;

  const auto source =
      described(with_front({c.batch, c.in_channels}, c.input), type, c.source_strides);
  const auto destination =
      described(with_front({c.batch, c.out_channels}, c.output), type, c.destination_strides);
  Dims sizes = with_front({c.groups, c.out_channels / c.groups, c.in_channels / c.groups}, c.window);
  Dims strides = c.weights_strides;
  if (!grouped) {
    sizes.erase(sizes.begin());
    strides.erase(strides.begin());
  }
  const memory::desc weights(sizes, type, strides);

  const auto source_any = working(source, destination);
  const auto destination_any = working(destination, source);
  const memory::desc weights_any(sizes, type, memory::format_tag::any);

  Dims dilation = c.dilation;
  for (auto& step : dilation) step -= 1;  // oneDNN counts the gaps

  if (c.method == Method::kWinograd) {
    return by_winograd(source, weights, destination, c, threads);
  }

  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);

  using dnnl::convolution_backward_data;
  using dnnl::convolution_backward_weights;
  using dnnl::convolution_forward;
  const auto forward = [&](prop_kind kind) {
    return convolution_forward::primitive_desc(
        engine(), kind, algorithm::convolution_direct, source_any, weights_any, destination_any,
        c.stride, dilation, c.padding_low, c.padding_high, attributes);
  };

  switch (c.kind) {
    case Kind::kForward: {
      const auto d = forward(prop_kind::forward_inference);
      return assemble<decltype(d), convolution_forward>(d, source, weights, destination,
                                                        d.src_desc(), d.weights_desc(),
                                                        d.dst_desc(), c.kind);
    }
    case Kind::kInputGradient: {
      const convolution_backward_data::primitive_desc d(
          engine(), algorithm::convolution_direct, source_any, weights_any, destination_any,
          c.stride, dilation, c.padding_low, c.padding_high, forward(prop_kind::forward_training),
          attributes);
      return assemble<decltype(d), convolution_backward_data>(
          d, source, weights, destination, d.diff_src_desc(), d.weights_desc(), d.diff_dst_desc(),
          c.kind);
    }
    default: {
      const convolution_backward_weights::primitive_desc d(
          engine(), algorithm::convolution_direct, source_any, weights_any, destination_any,
          c.stride, dilation, c.padding_low, c.padding_high, forward(prop_kind::forward_training),
          attributes);
      if (writes_past_scratch(c, d.impl_info_str())) {
        refuse("oneDNN writes past its memory where few channels have a stride");
      }
      return assemble<decltype(d), convolution_backward_weights>(
          d, source, weights, destination, d.src_desc(), d.diff_weights_desc(), d.diff_dst_desc(),
          c.kind);
    }
  }
}

std::shared_ptr<const Primitives> find_primitives(const std::vector<int64_t>& numbers,
                                                  const Configuration& configuration,
                                                  int threads) {
  return store().find({numbers, threads},
                      [&] { return make_primitives(configuration, threads); });
}

void clear_primitives() { store().clear(); }

}  // namespace cnn_jax
