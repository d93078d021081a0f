// Kernels that break one rule each.
#pragma once

#include "kernels.h"

namespace effebm::test {

inline __global__ void barrier_in_branch() {
  if (threadIdx.x < 40)
    __syncthreads();
  else
    __syncthreads();
}

inline __global__ void exit_before_barrier() {
  if (threadIdx.x == 3) return;
  __syncthreads();
}

inline __global__ void exit_before_shuffle(int* out) {
  if (threadIdx.x >= 16) return;
  out[threadIdx.x] = __shfl_sync(kAllLanes, 1, 0);
}

inline __global__ void outside_of_own_mask() { __syncwarp(0x1u); }

// The lanes 8 to 15 and 16 to 23 wait for each other.
inline __global__ void crossed_masks() {
  const unsigned lane = threadIdx.x % 32;
  if (lane / 8 == 1) __syncwarp(0x00FFFF00u);
  if (lane / 8 == 2) __syncwarp(0x00FFFFFFu);
  __syncwarp();
}

inline __global__ void different_functions(int* out) {
  if (threadIdx.x < 16)
    out[threadIdx.x] = __shfl_sync(kAllLanes, 1, 0);
  else
    out[threadIdx.x] = __any_sync(kAllLanes, 1);
}

inline __global__ void warp_against_barrier() {
  if (threadIdx.x < 16)
    __syncwarp();
  else
    __syncthreads();
}

inline __global__ void poll_forever(unsigned* flag) {
  while (atomicAdd(flag, 0u) == 0) {
  }
}

inline __global__ void grid_sync() { cooperative_groups::this_grid().sync(); }

inline __global__ void misaligned_ldg(const float* in, float* out) {
  *out = __ldg(reinterpret_cast<const float4*>(in + 1)).x;
}

inline __global__ void too_much_shared() {
  EFFEBM_SHARED(char, large, (48 << 10) + 1);
  large[threadIdx.x] = 0;
}

inline __global__ void throws() { throw 1; }

// This is `reverse` without its barrier.
template <int kSize>
__global__ void reverse_unsynchronized(const int* in, int* out) {
  EFFEBM_SHARED(int, staged, kSize);
  const int i = int(threadIdx.x);
  staged[i] = in[i];
  out[i] = staged[kSize - 1 - i];
}

// This is `warp_exchange` without __syncwarp.
inline __global__ void exchange_unsynchronized(int* out) {
  EFFEBM_SHARED(int, staged, 64);
  staged[threadIdx.x] = int(threadIdx.x);
  out[threadIdx.x] = staged[threadIdx.x ^ 1];
}

// All blocks write one word.
inline __global__ void blocks_race(int* out) {
  if (threadIdx.x == 0) *out = int(blockIdx.x);
}

inline __global__ void shared_overflow(int* out) {
  EFFEBM_SHARED(int, small, 5);
  EFFEBM_SHARED(int, other, 64);
  other[threadIdx.x] = 0;
  int* const begin = small;  // UBSan knows the size of an array, but not what a pointer points to
  if (threadIdx.x <= 5) begin[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = small[threadIdx.x % 5] + other[threadIdx.x];
}

inline __global__ void misaligned_vector(const float* in, float* out) {
  *out = reinterpret_cast<const float4*>(in + 1)->x;
}

// CUDA promises an array of float only the alignment of a float.
inline __global__ void underaligned_shared(float* out) {
  EFFEBM_SHARED(float, staged, 64);
  staged[threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 0) *out = reinterpret_cast<const float4*>(staged)->x;
}

}  // namespace effebm::test
