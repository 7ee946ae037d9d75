#include "convolution.h"

#include <exception>

#include "placement.h"
#include "primitives.h"
#include "threads.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

dnnl::stream& stream() {
  thread_local dnnl::stream instance(engine());
  return instance;
}

int threads_worth_waking(const std::vector<int64_t>& numbers, const Configuration& c) {
  const int threads = threads_for(c.work());
  if (threads == 1) return 1;
  const ThreadCount count(threads);
  if (c.kind == Kind::kForward || !find_primitives(numbers, c, threads)->general) return threads;
  // The general kernel wakes the threads for every matrix product; kernel gradients share the
  // images out if there are enough.
  if (c.kind == Kind::kKernelGradient && c.images() >= threads) return threads;
  const int64_t slices = c.output.size() == 3 ? c.output.front() : 1;
  return threads_for((c.work() + c.copying()) / (c.images() * slices));
}

// An operand in the layout that the convolution wants: the caller's memory, or a copy of it.
class Prepared {
 public:
  Prepared(const Operand& operand, void* data)
      : operand_(operand),
        given_(operand.given, engine(), data),
        copy_(operand.copied() ? operand.wanted.get_size() : 0),
        wanted_(operand.copied() ? dnnl::memory(operand.wanted, engine(), copy_.data()) : given_) {}

  const dnnl::memory& read() {
    if (operand_.copied()) reorder(given_, wanted_);
    return wanted_;
  }

  const dnnl::memory& target() const { return wanted_; }

  void write_back() {
    if (operand_.copied()) reorder(wanted_, given_);
  }

 private:
  void reorder(dnnl::memory& from, dnnl::memory& to) { operand_.copy.execute(stream(), from, to); }

  const Operand& operand_;
  dnnl::memory given_;
  Workspace copy_;
  dnnl::memory wanted_;
};

}  // namespace

Support supported(const std::vector<int64_t>& numbers, std::string* why) {
  Configuration configuration;
  if (!parse(numbers.data(), numbers.size(), &configuration, why)) return Support::kNone;
  try {
    const int threads = threads_worth_waking(numbers, configuration);
    const ThreadCount count(threads);
    const auto primitives = find_primitives(numbers, configuration, threads);
    return primitives->general ? Support::kGeneral : Support::kOwn;
  } catch (const std::exception& error) {
    *why = error.what();
    return Support::kNone;
  }
}

void run(const std::vector<int64_t>& numbers, const Configuration& configuration,
         const Arrays& arrays) {
  const int threads = threads_worth_waking(numbers, configuration);
  const ThreadCount count(threads);
  const Placement placement(threads);
  const auto primitives = find_primitives(numbers, configuration, threads);

  Prepared source(primitives->source, arrays.source);
  Prepared weights(primitives->weights, arrays.weights);
  Prepared destination(primitives->destination, arrays.destination);
  const Workspace scratch(primitives->scratchpad.get_size());
  const dnnl::memory scratchpad(primitives->scratchpad, engine(), scratch.data());

  const auto execute = [&](std::unordered_map<int, dnnl::memory> arguments) {
    arguments.emplace(DNNL_ARG_SCRATCHPAD, scratchpad);
    primitives->convolution.execute(stream(), arguments);
  };
  switch (configuration.kind) {
    case Kind::kForward:
      execute({{DNNL_ARG_SRC, source.read()},
               {DNNL_ARG_WEIGHTS, weights.read()},
               {DNNL_ARG_DST, destination.target()}});
      destination.write_back();
      break;
    case Kind::kInputGradient:
      execute({{DNNL_ARG_DIFF_DST, destination.read()},
               {DNNL_ARG_WEIGHTS, weights.read()},
               {DNNL_ARG_DIFF_SRC, source.target()}});
      source.write_back();
      break;
    case Kind::kKernelGradient:
      execute({{DNNL_ARG_SRC, source.read()},
               {DNNL_ARG_DIFF_DST, destination.read()},
               {DNNL_ARG_DIFF_WEIGHTS, weights.target()}});
      weights.write_back();
      break;
  }
  stream().wait();
}

}  // namespace cnn_jax
