// A row that stays in shared memory, so that global memory is read once however often the
// compressor looks at the row.
#pragma once

#include "rows.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Bytes of dynamic shared memory that hold a row of dim elements.
template <class A>
int64_t resident_bytes(int64_t dim) {
  return (dim + kQuad - 1) / kQuad * kQuad * int64_t(sizeof(A));
}

// Whether a row fits beside what a kernel and the row's notes take of static shared memory.
template <class Row>
bool is_resident(int64_t dim, int64_t static_bytes) {
  using A = typename Row::A;
  const int64_t notes = Row::kNotes ? 2 * kTile * int64_t(sizeof(A)) : 0;
  return static_bytes + notes + resident_bytes<A>(dim) <= cuda::shared_memory_per_block();
}

// Made by all threads of a block together.
template <class Row>
class Resident {
 public:
  using A = typename Row::A;

  template <class Params>
  __device__ Resident(const Params& p, int64_t r, bool vector) : row_(p, r, vector), u_(room()) {
    __syncthreads();  // the last row may still be in use
    for (int64_t tile = 0; tile < p.dim; tile += kTile) {
      const int64_t begin = tile + int(threadIdx.x) * kQuad;
      if (begin < p.dim) {
        const int n = p.dim - begin < kQuad ? int(p.dim - begin) : kQuad;
        A u[kQuad];
        row_.read(begin, n, u);
        store_quad(u_, begin, kQuad, true, u);
      }
      if (row_.notes_on_read())
        row_.end_tile(tile, int(p.dim - tile < kTile ? p.dim - tile : kTile));
    }
    __syncthreads();
  }

  __device__ A u(int64_t i) const { return u_[i]; }
  __device__ void load(int64_t begin, int, A (&u)[kQuad]) const {
    load_quad<A>(u_, begin, kQuad, true, u);
  }
  __device__ void read(int64_t begin, int n, A (&u)[kQuad]) const { load(begin, n, u); }
  __device__ void put(int64_t begin, int n, const A (&u)[kQuad], const A (&c)[kQuad]) const {
    row_.put(begin, n, u, c);
  }
  __device__ void end_tile(int64_t tile, int n) const {
    if (!row_.notes_on_read()) row_.end_tile(tile, n);
  }

 private:
  static __device__ A* room() {
    EFFEBM_DYNAMIC_SHARED(A, u);
    return u;
  }

  Row row_;
  A* u_;
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
