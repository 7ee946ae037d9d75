#include "threads.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>

// Declared here, and resolved in oneDNN's own OpenMP runtime, so that no second runtime is linked.
extern "C" {
int omp_get_max_threads();
void omp_set_num_threads(int);
}

namespace cnn_jax {
namespace {

// To wake a thread that sleeps, and to be woken by it, takes up to 150 microseconds: less work than
// this is done sooner by one.
constexpr int64_t kWorthAThread = 10'000'000;

std::atomic<bool> forked{false};

const bool watching_forks =
    pthread_atfork(nullptr, nullptr, [] { forked = true; }) == 0;

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

}  // namespace cnn_jax
