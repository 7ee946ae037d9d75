#include "host_threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

namespace cnn_jax {
namespace {

// Outlives the call: a thread of the pool may come to it when all is done.
struct Shared {
  Shared(int64_t all, const std::function<void(int64_t)>& each) : count(all), body(&each) {}

  const int64_t count;
  const std::function<void(int64_t)>* const body;  // valid until all are done
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::mutex mutex;
  std::exception_ptr failure;
};

// No exception may leave it: the pool is XLA's.
void work(Shared& shared) {
  for (int64_t i = shared.next++; i < shared.count; i = shared.next++) {
    try {
      (*shared.body)(i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(shared.mutex);
      shared.failure = std::current_exception();
    }
    ++shared.done;
  }
}

}  // namespace

void for_each(xla::ffi::ThreadPool& pool, int64_t count,
              const std::function<void(int64_t)>& body) {
  const int64_t helpers = std::min(pool.num_threads(), count) - 1;
  if (helpers < 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  const auto shared = std::make_shared<Shared>(count, body);
  try {
    for (int64_t i = 0; i < helpers; ++i) pool.Schedule([shared] { work(*shared); });
  } catch (...) {
    // Fewer help.
  }
  work(*shared);
  while (shared->done < count) std::this_thread::yield();
  if (shared->failure) std::rethrow_exception(shared->failure);
}

}  // namespace cnn_jax
