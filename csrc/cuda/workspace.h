// Device memory that a launch needs besides its tensors. The code that takes it first runs without
// memory, which measures how much it takes.
#pragma once

#include <cstdint>

#include "../core/kernels.h"

namespace effebm::cuda {

class Workspace {
 public:
  explicit Workspace(void* base = nullptr) : base_(static_cast<char*>(base)) {}

  template <class T>
  T* take(int64_t count) {
    char* const taken = base_ ? base_ + bytes_ : nullptr;
    bytes_ += (count * int64_t(sizeof(T)) + kAlignment - 1) / kAlignment * kAlignment;
    return reinterpret_cast<T*>(taken);
  }

  int64_t bytes() const { return bytes_; }

 private:
  static constexpr int64_t kAlignment = 16;
  char* base_;
  int64_t bytes_ = 0;
};

// Returns use(workspace), once the workspace has the memory that `use` takes of it.
template <class Use>
auto with_workspace(const Execution& on, const Use& use) {
  Workspace measured;
  use(measured);
  Workspace space(on.allocate(measured.bytes()));
  return use(space);
}

}  // namespace effebm::cuda
