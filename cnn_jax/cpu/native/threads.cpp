#include "threads.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

// Declared here, and resolved in oneDNN's own OpenMP runtime, so that no second runtime is linked.
extern "C" {
int omp_get_max_threads();
void omp_set_num_threads(int);
void GOMP_parallel(void (*function)(void*), void* data, unsigned threads, unsigned flags);
}

namespace cnn_jax {
namespace {

// To wake a thread that sleeps, and to be woken by it, takes up to 150 microseconds: less work than
// this is done sooner by one.
constexpr int64_t kWorthAThread = 10'000'000;

std::atomic<bool> forked{false};

const bool watching_forks =
    pthread_atfork(nullptr, nullptr, [] { forked = true; }) == 0;

struct Loop {
  const int64_t count;
  const std::function<void(int64_t)>& body;
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
};

// No exception may leave it: the runtime that calls it is C.
void work(void* data) {
  Loop& loop = *static_cast<Loop*>(data);
  try {
    for (int64_t i = loop.next++; i < loop.count; i = loop.next++) loop.body(i);
  } catch (...) {
    loop.next = loop.count;
    const std::lock_guard<std::mutex> lock(loop.mutex);
    loop.failure = std::current_exception();
  }
}

}  // namespace

int threads_for(int64_t multiply_adds) {
  if (forked || !watching_forks) return 1;
  const int64_t useful = std::max<int64_t>(1, multiply_adds / kWorthAThread);
  return static_cast<int>(std::min<int64_t>(useful, omp_get_max_threads()));
}

ThreadCount::ThreadCount(int threads) : saved_(omp_get_max_threads()) {
  if (threads != saved_) omp_set_num_threads(threads);
}

ThreadCount::~ThreadCount() {
  if (omp_get_max_threads() != saved_) omp_set_num_threads(saved_);
}

void for_each(int threads, int64_t count, const std::function<void(int64_t)>& body) {
  Loop loop{count, body, {}, {}, {}};
  if (threads < 2 || count < 2) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  GOMP_parallel(work, &loop, static_cast<unsigned>(threads), 0);
  if (loop.failure) std::rethrow_exception(loop.failure);
}

}  // namespace cnn_jax
