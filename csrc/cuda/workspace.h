// Device memory that a launch needs beside its tensors. The same code that hands it out says,
// beforehand and without any, how much it will be.
#pragma once

#include <cstdint>

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

}  // namespace effebm::cuda
