#include "convolution.h"

#include <exception>

#include "epilogue.h"
#include "own_methods.h"
#include "placement.h"
#include "prepared.h"
#include "primitives.h"
#include "threads.h"

namespace cnn_jax {
namespace {

// How much longer a multiply-add of a kernel gradient takes, in quarters: two threads are worth waking
// for less of them. With half as many, steps of small networks were slower.
constexpr int64_t kSlower = 5;

int threads_worth_waking(const std::vector<int64_t>& numbers, const Configuration& c) {
  const bool gradient = c.kind == Kind::kKernelGradient;
  const int threads = threads_for(gradient ? c.work() / 4 * kSlower : c.work());
  if (threads == 1) return 1;
  const ThreadCount count(threads);
  if (c.kind == Kind::kForward || !find_primitives(numbers, c, threads)->general) return threads;
  // The general kernel wakes the threads for every matrix product; kernel gradients share the
  // images out if there are enough.
  if (c.kind == Kind::kKernelGradient && c.images() >= threads) return threads;
  const int64_t slices = c.output.size() == 3 ? c.output.front() : 1;
  return threads_for((c.work() + c.copying()) / (c.images() * slices));
}

}  // namespace

Support supported(const std::vector<int64_t>& numbers, std::string* why) {
  Configuration configuration;
  if (!parse(numbers.data(), numbers.size(), &configuration, why)) return Support::kNone;
  try {
    if (configuration.after != After::kNothing) {
      refuse_epilogue(numbers, configuration);
      return Support::kOwn;
    }
    if (const OwnMethod* method = own_method(configuration.method)) {
      method->refuse(configuration);
      return Support::kOwn;
    }
    const int threads = threads_worth_waking(numbers, configuration);
    const ThreadCount count(threads);
    const auto primitives = find_primitives(numbers, configuration, threads);
    // Few channels of their own fill no wider vectors, and of kernel gradients nothing was measured.
    const bool slow = primitives->older && configuration.groups == 1 &&
                      configuration.kind == Kind::kInputGradient;
    return (primitives->general || slow) ? Support::kGeneral : Support::kOwn;
  } catch (const std::exception& error) {
    *why = error.what();
    return Support::kNone;
  }
}

void run(const std::vector<int64_t>& numbers, const Configuration& configuration,
         const Arrays& arrays, const ForEach& for_each) {
  if (configuration.after != After::kNothing) {
    return run_with_epilogue(numbers, configuration, arrays, for_each);
  }
  if (const OwnMethod* method = own_method(configuration.method)) {
    return method->run(configuration, arrays, for_each, {});
  }
  const Kind kind = configuration.kind;
  const int threads = threads_worth_waking(numbers, configuration);
  const ThreadCount count(threads);
  const Placement placement(threads);
  const auto primitives = find_primitives(numbers, configuration, threads);

  Prepared source(primitives->source, arrays.source);
  Prepared weights(primitives->weights, arrays.weights);
  Prepared destination(primitives->destination, arrays.destination);
  Prepared* const operands[] = {&source, &weights, &destination};
  Prepared* const result = kind == Kind::kForward         ? &destination
                           : kind == Kind::kInputGradient ? &source
                                                          : &weights;
  for (Prepared* operand : operands) {
    if (operand != result) operand->read();
  }
  if (primitives->winograd) {
    primitives->winograd->run(source.floats(), weights.floats(), destination.floats());
  } else {
    run_direct(*primitives, kind, source.wanted(), weights.wanted(), destination.wanted());
  }
  result->write_back();
  stream().wait();
}

}  // namespace cnn_jax
