// Sums over tiles in the order of the numerical contract, one quad of terms from each thread.
#pragma once

#include "block.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// The terms of a thread's four elements.
template <class A>
struct Terms {
  A of[kQuad];
  __device__ Terms operator+(const Terms& other) const {
    Terms sum;
    for (int i = 0; i < kQuad; ++i) sum.of[i] = of[i] + other.of[i];
    return sum;
  }
};

// Computes the halving sums of the terms of `width` neighbouring threads, for all of these threads.
// The width is a power of two up to 256, and every thread of a block of at most kMost threads calls
// this.
template <int kMost = kThreads, class A, int kSums>
__device__ void tile_sums(const Terms<A> (&terms)[kSums], int width, A (&sums)[kSums]) {
  EFFEBM_SHARED(Terms<A>, held, kSums * kMost);
  EFFEBM_SHARED(A, results, kSums * kMost / kWarpSize);
  if (width <= kWarpSize) {
    for (int s = 0; s < kSums; ++s) sums[s] = lanes_sum(terms[s].of, unsigned(width));
    return;
  }
  const int warps_at_once = width / kWarpSize, first = warp() & ~(warps_at_once - 1);
  __syncthreads();  // the sums before may still be read
  for (int s = 0; s < kSums; ++s) held[s * kMost + int(threadIdx.x)] = terms[s];
  __syncthreads();
  for (int s = warp() - first; s < kSums; s += warps_at_once) {
    // Halves down to 128 are added between warps: there are at most 8, and +0 stands for others.
    const Terms<A> sum = lane_tree<Terms<A>, 3>([&](int w) {
      return w < warps_at_once ? held[s * kMost + (first + w) * kWarpSize + lane()] : Terms<A>{};
    });
    const A result = lanes_sum(sum.of, unsigned(kWarpSize));
    if (lane() == 0) results[s * kMost / kWarpSize + first] = result;
  }
  __syncthreads();
  for (int s = 0; s < kSums; ++s) sums[s] = results[s * kMost / kWarpSize + first];
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
