// Temporary memory that is kept between calls: fresh pages cost more than the work done in them.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace cnn_jax {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// A block on loan; it goes back to the shared store when it goes out of scope.
class Workspace {
 public:
  explicit Workspace(size_t bytes);
  ~Workspace();
  Workspace(Workspace&& other) noexcept = default;
  Workspace& operator=(Workspace&&) = delete;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  void* data() const { return memory_.get(); }

 private:
  std::unique_ptr<void, Free> memory_;
  size_t bytes_ = 0;
};

// Gives every idle block back to the system.
void release_workspaces();

}  // namespace cnn_jax
