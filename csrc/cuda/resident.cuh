// A row that stays in shared memory, so that global memory is read once however often the
// compressor looks at the row.
#pragma once

#include "rows.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Returns how many bytes of dynamic shared memory hold so many elements.
template <class A>
int64_t resident_bytes(int64_t elements) {
  return (elements + kQuad - 1) / kQuad * kQuad * int64_t(sizeof(A));
}

// Returns how many elements fit into a block's shared memory besides the kernel's static arrays and
// the terms of the row's sums.
template <class Row>
int64_t most_resident(int64_t static_bytes) {
  using A = typename Row::A;
  const int64_t terms = Row::kSharedSums * kMostTile<A> * int64_t(sizeof(A));
  const int64_t left = cuda::current_device().shared_memory - static_bytes - terms;
  return left / int64_t(sizeof(A)) / kQuad * kQuad;
}

// A slice of a row in shared memory. All threads of a block construct it together.
template <class Row>
class Resident {
 public:
  using A = typename Row::A;

  template <class Params>
  __device__ Resident(const Params& p, int64_t r, bool vector, const Slice& slice)
      : row_(p, r, vector), begin_(slice.begin), u_(room()) {
    __syncthreads();  // the last row may still be in use
    if (row_.sums_on_read())
      for_tiles(slice, [&](int64_t begin, int n, int64_t tile) {
        if (n > 0) {
          A u[kQuad];
          row_.read(begin, n, u);
          hold_quad(u_, begin - begin_, u);
        }
        row_.end_tile(tile, slice.end);
      });
    else
      for (int64_t begin = slice.begin + int(threadIdx.x) * kQuad; begin < slice.end;
           begin += kAheadOfRow * threads() * kQuad)
        hold_tiles(slice, begin);
    __syncthreads();
  }

  __device__ A u(int64_t i) const { return u_[i - begin_]; }
  __device__ void load(int64_t begin, int, A (&u)[kQuad]) const {
    load_quad<A>(u_, begin - begin_, kQuad, true, u);
  }
  __device__ void read(int64_t begin, int n, A (&u)[kQuad]) const { load(begin, n, u); }
  __device__ void put(int64_t begin, int n, const A (&u)[kQuad], const A (&c)[kQuad]) const {
    row_.put(begin, n, u, c);
  }
  __device__ void end_tile(int64_t tile, int64_t end) const {
    if (!row_.sums_on_read()) row_.end_tile(tile, end);
  }

 private:
  static constexpr int kAheadOfRow = kAhead<(Row::kSharedSums > 0)>;

  __device__ void hold_tiles(const Slice& slice, int64_t begin) {
    typename Row::Fetched fetched[kAheadOfRow] = {};
#pragma unroll
    for (int tile = 0; tile < kAheadOfRow; ++tile) {
      const int64_t at = begin + tile * threads() * kQuad, left = slice.end - at;
      if (left > 0) fetched[tile] = row_.fetch(at, left < kQuad ? int(left) : kQuad);
    }
#pragma unroll
    for (int tile = 0; tile < kAheadOfRow; ++tile) {
      const int64_t at = begin + tile * threads() * kQuad;
      if (at >= slice.end) return;
      A u[kQuad];
      row_.load(fetched[tile], u);
      hold_quad(u_, at - begin_, u);
    }
  }

  static __device__ A* room() {
    EFFEBM_DYNAMIC_SHARED(A, u);
    return u;
  }

  Row row_;
  int64_t begin_;
  A* u_;
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
