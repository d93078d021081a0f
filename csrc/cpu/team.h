// The threads that share one row, and memory for their work.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>

#include "denormals.h"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cpu_kernels {

// Cuts a row into parts, one per thread. A team of one does everything where it is called.
class Team {
 public:
  Team() = default;
  explicit Team(const Threads& threads) : threads_(&threads), parts_(threads.count) {}

  int parts() const { return parts_; }

  // Calls f(part, begin, end) for every part of [0, n); parts begin at multiples of `unit`, and may
  // be empty.
  template <class F>
  void run(int64_t n, int64_t unit, const F& f) const {
    if (parts_ == 1) return f(0, int64_t(0), n);
    const int64_t units = (n + unit - 1) / unit;
    threads_->run(parts_, 1, [&](int64_t first, int64_t last) {
      const KeepDenormals keep_denormals;
      for (int64_t part = first; part < last; ++part) {
        const int64_t begin = units * part / parts_ * unit;
        const int64_t end = units * (part + 1) / parts_ * unit;
        f(int(part), std::min(begin, n), std::min(end, n));
      }
    });
  }

 private:
  const Threads* threads_ = nullptr;
  int parts_ = 1;
};

// Memory that is kept from one row to the next.
class Scratch {
 public:
  // Returns room for n values; what it held before is lost.
  template <class V>
  V* room(int64_t n) {
    const size_t bytes = size_t(n) * sizeof(V);
    if (bytes > size_) {
      memory_ = std::make_unique_for_overwrite<std::byte[]>(bytes);
      size_ = bytes;
    }
    return reinterpret_cast<V*>(memory_.get());
  }

 private:
  std::unique_ptr<std::byte[]> memory_;
  size_t size_ = 0;
};

// Calls f(row, team, scratch) for all rows. The rows are dealt out to the threads, except for a few
// long rows that do not divide evenly: all threads share these, one after the other.
template <class F>
void for_rows(int64_t rows, int64_t dim, const Threads& threads, const F& f) {
  constexpr int64_t kElementsPerThread = 8192, kSharedRow = 32768;
  const bool uneven = rows < 4 * threads.count && rows % threads.count != 0;
  if (uneven && dim >= kSharedRow) {
    const KeepDenormals keep_denormals;
    const Team team(threads);
    Scratch scratch;
    for (int64_t r = 0; r < rows; ++r) f(r, team, scratch);
    return;
  }
  const int64_t grain = std::max<int64_t>(1, kElementsPerThread / std::max<int64_t>(1, dim));
  threads.run(rows, grain, [&](int64_t begin, int64_t end) {
    const KeepDenormals keep_denormals;
    Scratch scratch;
    for (int64_t r = begin; r < end; ++r) f(r, Team(), scratch);
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
