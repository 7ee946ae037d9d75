#include "shared_out.h"

namespace cnn_jax {
namespace {

constexpr int64_t kWorthThreads = 5'000'000;  // multiply-adds

}  // namespace

ForEach shared_out(int64_t multiply_adds, const ForEach& for_each) {
  if (multiply_adds >= kWorthThreads) return for_each;
  return [](int64_t count, const std::function<void(int64_t)>& body) {
    for (int64_t i = 0; i < count; ++i) body(i);
  };
}

}  // namespace cnn_jax
