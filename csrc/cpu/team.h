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
  Team(const Threads& threads, int parts) : threads_(&threads), parts_(parts) {}

  int parts() const { return parts_; }

  // Calls f(part, begin, end) for every part of [0, n); parts begin at multiples of `unit`, and may
  // be empty.
  template <class F>
  void run(int64_t n, int64_t unit, const F& f) const {
    if (parts_ == 1) return f(0, int64_t(0), n);
    const int64_t units = (n + unit - 1) / unit;
    threads_->run(parts_, threads_->worth, [&](int64_t first, int64_t last) {
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

// About the nanoseconds that kernels take on one thread with AVX2, for an element (or a chain, or a
// word of 32 bits) and for a row besides. They take from a third to twice as long with AVX-512 and
// with other options.
enum Cost : int64_t {
  kStep = 2,
  kCompress = 1,
  kRound = 1,
  kPacking = 1,
  kPerturb = 4,
  kUniform = 8,
  kRatio = 4,
  kDecision = 16,
  kKeptWord = 1
};
constexpr int64_t kCostOfRow = 100;

// Calls f(row, team, scratch) for all rows. The rows are dealt out to the threads, except for a few
// long rows that do not divide evenly: all threads share these, one after the other.
template <int64_t kCost = kStep, class F>
void for_rows(int64_t rows, int64_t dim, const Threads& threads, const F& f) {
  const int64_t cost_of_row = kCostOfRow + dim * kCost;
  const bool uneven = rows < 4 * threads.count && rows % threads.count != 0;
  const int sharing = int(std::min<int64_t>(threads.count, cost_of_row / threads.worth));
  if (uneven && sharing > 1) {
    const KeepDenormals keep_denormals;
    const Team team(threads, sharing);
    Scratch scratch;
    for (int64_t r = 0; r < rows; ++r) f(r, team, scratch);
    return;
  }
  threads.run(rows, cost_of_row, [&](int64_t begin, int64_t end) {
    const KeepDenormals keep_denormals;
    Scratch scratch;
    for (int64_t r = begin; r < end; ++r) f(r, Team(), scratch);
  });
}

}  // namespace effebm::inline EFFEBM_ISA::cpu_kernels
