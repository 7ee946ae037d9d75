#include "convolution.h"

#include <exception>

#include "placement.h"
#include "primitives.h"
#include "threads.h"
#include "workspace.h"

namespace cnn_jax {
namespace {

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

  void read() {
    if (operand_.copied()) reorder(given_, wanted_);
  }

  const dnnl::memory& wanted() const { return wanted_; }

  float* floats() const { return static_cast<float*>(wanted_.get_data_handle()); }

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

void run_direct(const Primitives& primitives, Kind kind, const dnnl::memory& source,
                const dnnl::memory& weights, const dnnl::memory& destination) {
  const Workspace scratch(primitives.scratchpad.get_size());
  const dnnl::memory scratchpad(primitives.scratchpad, engine(), scratch.data());
  const bool to_source = kind == Kind::kInputGradient, to_weights = kind == Kind::kKernelGradient;
  const bool to_destination = kind == Kind::kForward;
  primitives.convolution.execute(
      stream(), {{to_source ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, source},
                 {to_weights ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, weights},
                 {to_destination ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, destination},
                 {DNNL_ARG_SCRATCHPAD, scratchpad}});
}

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
