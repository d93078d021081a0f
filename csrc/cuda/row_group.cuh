// The threads that share a row: 1, 2, 4, ..., 32 neighbouring lanes of a warp, or a whole thread
// block. All threads of a warp, or of the block, call its functions together.
#pragma once

#include "block.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

struct Add {
  template <class V>
  __device__ V operator()(V a, V b) const {
    return a + b;
  }
};

struct Larger {
  template <class V>
  __device__ V operator()(V a, V b) const {
    return a < b ? b : a;
  }
};

class RowGroup {
 public:
  // `threads`: of a row, a power of two up to 32, or all threads of the block.
  __device__ explicit RowGroup(int threads) : threads_(threads) {
    EFFEBM_SHARED(uint64_t, slots, 2 * kWarpSize);
    slots_ = slots;
  }

  __device__ int size() const { return threads_; }
  __device__ bool is_block() const { return threads_ > kWarpSize; }
  // This thread's number in its row, and the row's number in the block.
  __device__ int thread() const {
    return is_block() ? int(threadIdx.x) : int(threadIdx.x) & (threads_ - 1);
  }
  __device__ int row() const { return is_block() ? 0 : int(threadIdx.x) / threads_; }

  // Tells whether `some` is true in a row of the warp, or in the block, where it is the same in all
  // threads.
  __device__ bool any(bool some) const {
    return is_block() ? some : __any_sync(kAllLanes, some) != 0;
  }

  __device__ uint32_t sum(uint32_t own) {
    if (threads_ < kWarpSize) return over_lanes(own, threads_, Add());
    own = __reduce_add_sync(kAllLanes, own);
    return is_block() ? __reduce_add_sync(kAllLanes, of_lanes_warp(own)) : own;
  }

  // Rounding depends on the number of threads, so this is for guesses only.
  __device__ float sum(float own) { return reduce(own, Add()); }

  template <class V>
  __device__ V largest(V own) {
    return reduce(own, Larger());
  }

 private:
  template <class V, class Combine>
  static __device__ V over_lanes(V own, int lanes, const Combine& combine) {
    for (int half = lanes / 2; half >= 1; half /= 2)
      own = combine(own, __shfl_xor_sync(kAllLanes, own, half));
    return own;
  }

  template <class V, class Combine>
  __device__ V reduce(V own, const Combine& combine) {
    own = over_lanes(own, is_block() ? kWarpSize : threads_, combine);
    return is_block() ? over_lanes(of_lanes_warp(own), kWarpSize, combine) : own;
  }

  // Returns to each lane what the warp of this number has, and 0 to lanes without a warp. Two sets
  // of slots in turn let the threads meet once only.
  template <class V>
  __device__ V of_lanes_warp(V own) {
    if (lane() == 0) memcpy(&slots_[warp() + turn_], &own, sizeof own);
    __syncthreads();
    V other = {};
    if (lane() < warps()) memcpy(&other, &slots_[lane() + turn_], sizeof other);
    turn_ ^= kWarpSize;
    return other;
  }

  uint64_t* slots_;
  int threads_, turn_ = 0;
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
