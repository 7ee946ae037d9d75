// What is made once for a description and kept for later calls, the latest used of it.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace cnn_jax {

template <typename Key, typename Value>
class Store {
 public:
  explicit Store(size_t most) : most_(most) {}
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // The value kept for the key, or else what `make` returns, kept from now on.
  template <typename Make>
  std::shared_ptr<const Value> find(const Key& key, const Make& make) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto found = index_.find(key);
      if (found != index_.end()) {
        entries_.splice(entries_.begin(), entries_, found->second);
        return found->second->second;
      }
    }
    // Made outside the lock: it can take milliseconds, and other threads have work to do.
    std::shared_ptr<const Value> made = make();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (index_.count(key) != 0) return made;
    entries_.emplace_front(key, made);
    index_.emplace(key, entries_.begin());
    if (entries_.size() > most_) {
      index_.erase(entries_.back().first);
      entries_.pop_back();
    }
    return made;
  }

  void clear() {
    const std::lock_guard<std::mutex> lock(mutex_);
    index_.clear();
    entries_.clear();
  }

 private:
  using Entry = std::pair<Key, std::shared_ptr<const Value>>;

  const size_t most_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // the latest used first
  std::map<Key, typename std::list<Entry>::iterator> index_;
};

}  // namespace cnn_jax
