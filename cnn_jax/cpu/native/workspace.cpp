#include "workspace.h"

#include <map>
#include <mutex>
#include <new>

namespace cnn_jax {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kKept = size_t{256} << 20;  // idle bytes kept at the most

using Block = std::unique_ptr<void, Free>;

struct Store {
  std::mutex mutex;
  std::multimap<size_t, Block> idle;
  size_t bytes = 0;
};

// Never destroyed: threads of the host may still be running when the process ends.
Store& store() {
  static Store& instance = *std::make_unique<Store>().release();
  return instance;
}

}  // namespace

Workspace::Workspace(size_t bytes) {
  if (bytes == 0) return;
  bytes_ = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  {
    std::lock_guard<std::mutex> lock(store().mutex);
    const auto found = store().idle.lower_bound(bytes_);
    if (found != store().idle.end() && found->first <= 2 * bytes_) {
      bytes_ = found->first;
      memory_ = std::move(found->second);
      store().bytes -= bytes_;
      store().idle.erase(found);
      return;
    }
  }
  memory_.reset(std::aligned_alloc(kAlignment, bytes_));
  if (!memory_) throw std::bad_alloc();
}

Workspace::~Workspace() {
  if (!memory_) return;
  try {
    std::lock_guard<std::mutex> lock(store().mutex);
    if (store().bytes + bytes_ > kKept) return;
    store().idle.emplace(bytes_, std::move(memory_));
    store().bytes += bytes_;
  } catch (...) {
    // The block is freed instead of kept.
  }
}

void release_workspaces() {
  std::lock_guard<std::mutex> lock(store().mutex);
  store().idle.clear();
  store().bytes = 0;
}

}  // namespace cnn_jax
