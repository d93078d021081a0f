// Small kernels, one feature each.
#pragma once

#include "../emulator.h"

namespace effebm::test {

constexpr unsigned kAllLanes = 0xFFFFFFFFu;

inline __device__ unsigned block_number() {
  return (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
}
inline __device__ unsigned thread_number() {
  return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
}

inline __global__ void coordinates(unsigned* visits) {
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  visits[block_number() * threads + thread_number()] += 1;
}

template <int kSize>
__global__ void __launch_bounds__(kSize) reverse(const int* in, int* out) {
  EFFEBM_SHARED(int, staged, kSize);
  const int i = int(threadIdx.x), first = int(blockIdx.x) * kSize;
  staged[i] = in[first + i];
  __syncthreads();
  out[first + i] = staged[kSize - 1 - i];
}

inline __global__ void garbage(unsigned char* out) {
  EFFEBM_SHARED(unsigned char, never_written, 4);
  if (threadIdx.x < 4) out[threadIdx.x] = never_written[threadIdx.x];
}

inline __global__ void votes(int* count, int* any, int* all) {
  const int odd = threadIdx.x % 2;
  const int odds = __syncthreads_count(odd);
  const int some = __syncthreads_or(threadIdx.x == 7), none = __syncthreads_or(0);
  const int each = __syncthreads_and(1), not_each = __syncthreads_and(odd);
  count[threadIdx.x] = odds;
  any[threadIdx.x] = some && !none;
  all[threadIdx.x] = each && !not_each;
}

constexpr int kShuffles = 8;

inline __global__ void shuffles(int* out) {
  const int lane = int(threadIdx.x) % 32;
  int* mine = out + threadIdx.x * kShuffles;
  mine[0] = __shfl_sync(kAllLanes, lane, 5);
  mine[1] = __shfl_xor_sync(kAllLanes, lane, 3);
  mine[2] = __shfl_up_sync(kAllLanes, lane, 4);
  mine[3] = __shfl_down_sync(kAllLanes, lane, 4);
  mine[4] = __shfl_sync(kAllLanes, lane, 9, 8);
  mine[5] = __shfl_up_sync(kAllLanes, lane, 3, 8);
  mine[6] = __shfl_down_sync(kAllLanes, lane, 3, 8);
  mine[7] = int(__shfl_xor_sync(kAllLanes, double(lane), 16));
}

constexpr int kVotes = 8;

inline __global__ void warp_votes(unsigned* out) {
  const int lane = int(threadIdx.x) % 32;
  unsigned* mine = out + threadIdx.x * kVotes;
  mine[0] = __ballot_sync(kAllLanes, lane % 3 == 0);
  mine[1] = unsigned(__any_sync(kAllLanes, lane == 1));
  mine[2] = unsigned(__all_sync(kAllLanes, lane != 1));
  mine[3] = __match_any_sync(kAllLanes, lane % 4);
  mine[4] = __reduce_add_sync(kAllLanes, unsigned(lane));
  mine[5] = __reduce_max_sync(kAllLanes, unsigned(lane) ^ 5u);
  mine[6] = __activemask() >> lane & 1;
  // The halves of a warp go separate ways.
  const unsigned half = lane < 16 ? 0x0000FFFFu : 0xFFFF0000u;
  mine[7] = 0;
  if (lane < 16)
    mine[7] = __reduce_add_sync(half, 1u);
  else if (__any_sync(half, lane == 20))
    mine[7] = __reduce_add_sync(half & __match_any_sync(half, lane / 20), 1u);
}

inline __global__ void warp_exchange(int* out) {
  EFFEBM_SHARED(int, staged, 64);
  staged[threadIdx.x] = int(threadIdx.x);
  if (threadIdx.x % 32 < 8) __syncwarp(0xFFu);  // some lanes meet before all do
  __syncwarp();
  out[threadIdx.x] = staged[threadIdx.x ^ 1];
}

inline __global__ void atomics(unsigned* words, int* ints, unsigned long long* longs,
                               float* floats) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  EFFEBM_SHARED(unsigned, of_block, 1);
  if (threadIdx.x == 0) of_block[0] = 0;
  __syncthreads();
  atomicAdd(&of_block[0], 1);
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(&words[0], of_block[0]);
  atomicMax(&words[1], i);
  atomicMin(&words[2], i + 3);
  atomicOr(&words[3], 1u << (i % 32));
  atomicAnd(&words[4], ~(1u << (i % 32)));
  atomicXor(&words[5], i);
  atomicInc(&words[6], 9);
  for (unsigned seen = 0, held; (held = atomicCAS(&words[7], seen, seen + 2)) != seen;) seen = held;
  atomicAdd(&ints[0], -1);
  atomicSub(&ints[1], 2);
  atomicMax(&ints[2], -int(i));
  atomicAdd(&longs[0], 1ull << 32);
  atomicExch(&longs[1], 77);
  atomicAdd(&floats[0], 0.5f);
}

// The block that comes last adds up what all have left.
inline __global__ void last_block(unsigned* partial, unsigned* tickets, unsigned* sum) {
  EFFEBM_SHARED(bool, is_last, 1);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = blockIdx.x + 1;
    __threadfence();
    is_last[0] = atomicAdd(tickets, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (is_last[0] && threadIdx.x == 0)
    for (unsigned b = 0; b < gridDim.x; ++b) *sum += partial[b];
}

// These kernels need launch(): dynamic shared memory, clusters, cooperative grids.
inline __global__ void dynamic_rotate(int* out) {
  EFFEBM_DYNAMIC_SHARED(int, staged);
  staged[threadIdx.x] = int(threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = staged[(threadIdx.x + 1) % blockDim.x];
}

inline __global__ void cluster_sum(unsigned* out, bool wait_at_the_end) {
  const auto cluster = cooperative_groups::this_cluster();
  EFFEBM_SHARED(unsigned, own, 2);
  if (threadIdx.x == 0) own[1] = blockIdx.x;
  cluster.sync();
  if (threadIdx.x == 0) {
    unsigned sum = 0;
    for (unsigned rank = 0; rank < cluster.num_blocks(); ++rank)
      sum += *cluster.map_shared_rank(&own[1], rank);
    out[blockIdx.x] = sum;
  }
  if (wait_at_the_end) cluster.sync();
}

inline __global__ void grid_rounds(unsigned* value, unsigned* next, int rounds) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, n = gridDim.x * blockDim.x;
  for (int round = 0; round < rounds; ++round) {
    next[i] = value[i] + value[(i + 1) % n];
    cooperative_groups::this_grid().sync();
    value[i] = next[i];
    cooperative_groups::this_grid().sync();
  }
}

// Block 0 polls for the flag that the last block sets.
inline __global__ void poll(unsigned* flag, unsigned* out) {
  if (threadIdx.x != 0) return;
  if (blockIdx.x == gridDim.x - 1) atomicExch(flag, 1u);
  if (blockIdx.x == 0) {
    while (atomicAdd(flag, 0u) == 0) {
    }
    *out = 1;
  }
}

}  // namespace effebm::test
