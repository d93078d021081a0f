// Where the threads of a flat grid are: which row, and which elements of it.
#pragma once

#include <algorithm>

#include "block.cuh"
#include "kernels.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Divides numbers below 2^31 by one divisor, with a multiplication. For n < 2^31 and
// m = ceil(2^(31 + s) / d), 2^s >= d, the quotient is floor(n * m / 2^(31 + s)), as the error of m
// is below 2^s. (Granlund and Montgomery, "Division by invariant integers using multiplication",
// PLDI 1994.)
class Divider {
 public:
  Divider() = default;
  explicit Divider(uint32_t divisor) {  // 0 < divisor < 2^31
    while (uint32_t(1) << shift_ < divisor) ++shift_;
    multiplier_ = uint32_t(((uint64_t(1) << (31 + shift_)) + divisor - 1) / divisor);
  }
  EFFEBM_HD uint32_t quotient(uint32_t n) const { return high_of_product(2 * n) >> shift_; }

 private:
  EFFEBM_HD uint32_t high_of_product(uint32_t n) const {
#ifdef __CUDA_ARCH__
    return __umulhi(n, multiplier_);
#else
    return uint32_t(uint64_t(n) * multiplier_ >> 32);
#endif
  }

  uint32_t multiplier_ = 0;
  int shift_ = 0;
};

// Neighbouring elements of a row, which one thread has.
struct Place {
  int64_t row, begin;  // the first of them
  int64_t at;          // the same, from the tensor's start
  int n;               // how many; 0 past the row's end and past the last row
};

inline __device__ int elements_left(int64_t left, int most) {
  return left <= 0 ? 0 : left < most ? int(left) : most;
}

// A flat grid: consecutive threads have consecutive elements, kElements each. Each row begins with
// a thread whose number is a multiple of `unit`, so that groups of this many threads have one row.
class FlatIndex {
 public:
  // Of each row's threads the first `busy` ones have elements.
  FlatIndex(int64_t first_row, int64_t rows, uint32_t threads_of_row, uint32_t busy, int unit)
      : first_row_(first_row),
        rows_(uint32_t(rows)),
        threads_of_row_(threads_of_row),
        busy_(busy),
        unit_(unit),
        of_row_(threads_of_row) {}

  template <class Access>
  __device__ Place place(int64_t dim) const {
    constexpr int N = Access::kElements;
    const uint32_t thread = blockIdx.x * unsigned(kThreads) + threadIdx.x;
    const uint32_t r = of_row_.quotient(thread), in_row = thread - r * threads_of_row_;
    const int64_t row = first_row_ + r, begin = int64_t(in_row) * N;
    const bool has_elements = r < rows_ && in_row < busy_;
    const int n = !has_elements ? 0 : Access::kVector ? N : elements_left(dim - begin, N);
    return {row, begin, row * dim + begin, n};
  }

  EFFEBM_HD int unit() const { return unit_; }

 private:
  int64_t first_row_;
  uint32_t rows_, threads_of_row_, busy_;
  int unit_;
  Divider of_row_;
};

// Calls launch(index, blocks) for parts of the rows, each with fewer than 2^31 threads.
template <class Launch>
void for_flat_parts(int64_t rows, int64_t dim, int elements, int unit, const Launch& launch) {
  const int64_t threads = (dim + elements - 1) / elements;
  const int64_t of_row = (threads + unit - 1) / unit * unit, most = (int64_t(1) << 31) - kThreads;
  static_assert(cuda::kMaxDim / kQuad == (int64_t(1) << 31) - kThreads, "a row fits into one part");
  const int64_t part = most / of_row;
  for (int64_t first = 0; first < rows; first += part) {
    const int64_t count = std::min(part, rows - first);
    launch(FlatIndex(first, count, uint32_t(of_row), uint32_t(threads), unit),
           unsigned((count * of_row + kThreads - 1) / kThreads));
  }
}

// Tells whether this thread has the first elements of a tile of `width` threads.
inline __device__ bool begins_tile(const Place& place, int width) {
  return (int(threadIdx.x) & (width - 1)) == 0 && place.n > 0;
}

// The unit with which the tiles of a row are its groups of 1024 positions: rows of one group share
// a tile.
inline int unit_of_tiles(int64_t dim) {
  int unit = 1;
  while (unit < kThreads && int64_t(unit) * kQuad < dim) unit *= 2;
  return unit;
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
