// How many threads oneDNN may use for a piece of work.
#pragma once

#include <cstdint>
#include <functional>

namespace cnn_jax {

// The threads worth waking for work that takes as long as so many multiply-adds; always 1 in a
// forked child, whose parent's threads it does not have.
int threads_for(int64_t multiply_adds);

// Sets the calling thread's number of OpenMP threads, and puts the old one back.
class ThreadCount {
 public:
  explicit ThreadCount(int threads);
  ~ThreadCount();
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int saved_;
};

// Calls `body` with each number below `count`, on so many threads; one that is free takes the next.
// What a call throws is thrown again when all have ended.
void for_each(int threads, int64_t count, const std::function<void(int64_t)>& body);

}  // namespace cnn_jax
