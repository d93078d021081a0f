// Collective work of a thread block: scans, and sums in the order of the numerical contract.
#pragma once

#include "../core/canonical_sum.h"
#include "device.h"
#include "policy.h"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

using namespace core;

constexpr unsigned kAllLanes = 0xFFFFFFFFu;

__device__ inline int threads() { return int(blockDim.x); }
// (Unsigned numbers, because signed ones take more instructions to divide.)
__device__ inline int warps() { return int(blockDim.x / unsigned(kWarpSize)); }
__device__ inline int lane() { return int(threadIdx.x % unsigned(kWarpSize)); }
__device__ inline int warp() { return int(threadIdx.x / unsigned(kWarpSize)); }

// Returns v in a way that the compiler does not see through. So it makes keys and addresses again
// where they are used, and does not keep them all beside the values: registers are too few.
inline __device__ float opaque(float v) {
#ifdef __CUDA_ARCH__
  asm volatile("" : "+f"(v));
#endif
  return v;
}
inline __device__ int opaque(int v) {
#ifdef __CUDA_ARCH__
  asm volatile("" : "+r"(v));
#endif
  return v;
}
inline __device__ double opaque(double v) {
#ifdef __CUDA_ARCH__
  asm volatile("" : "+d"(v));
#endif
  return v;
}

// The sum of `value` over the threads before this one, and over all threads. Every thread calls
// block_scan().
struct Scan {
  uint32_t before, total;
};

__device__ inline Scan block_scan(uint32_t value) {
  EFFEBM_SHARED(uint32_t, warp_totals, kWarpSize);
  uint32_t inclusive = value;
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const uint32_t below = __shfl_up_sync(kAllLanes, inclusive, distance);
    if (lane() >= distance) inclusive += below;
  }
  if (lane() == kWarpSize - 1) warp_totals[warp()] = inclusive;
  __syncthreads();
  Scan scan = {inclusive - value, 0};
  for (int w = 0; w < warps(); ++w) {
    if (w < warp()) scan.before += warp_totals[w];
    scan.total += warp_totals[w];
  }
  __syncthreads();  // before the next scan overwrites the totals
  return scan;
}

// Adds the upper part of a halving tree within a lane: of 2^bits values held(0), held(1), ..., bits
// <= kBits, first those half of their number apart, then a quarter, and so on. The visits take j in
// the order of its reversed bits, in which sums become complete as the digits of a counter
// overflow, so that kBits waiting sums are enough.
template <class V, int kBits, class Held>
__device__ V lane_tree(const Held& held, int bits = kBits) {
  V waiting[kBits] = {};
  V sum = {};
#pragma unroll 1  // unrolled, it would need more registers than there are
  for (int visit = 0; visit < 1 << bits; ++visit) {
    int j = 0;
    for (int bit = 0; bit < kBits; ++bit) j |= (visit >> bit & 1) << (kBits - 1 - bit);
    sum = held(j >> (kBits - bits));
    bool carry = true;
    for (int bit = 0; bit < kBits; ++bit) {
      const bool second = visit >> bit & 1;
      if (carry && second) sum = waiting[bit] + sum;
      if (carry && !second) waiting[bit] = sum;
      carry = carry && second;
    }
  }
  return sum;
}

// Returns the halving sum of the N values of each of `lanes` neighbouring lanes to all of them. The
// values of a lane are neighbours: halves down to N are added between lanes, and then those within
// N. Two lanes that are half of the lanes apart each take half of the values, the even or the odd
// ones, which spares half of the exchanges. All lanes of a warp call it; `lanes` is a power of two.
template <int N, class A>
__device__ A lanes_sum(const A (&values)[N], unsigned lanes) {
  if constexpr (N == 1) {
    A sum = values[0];
#pragma unroll
    for (int half = kWarpSize / 2; half >= 1; half /= 2)
      if (unsigned(half) < lanes) sum = sum + __shfl_xor_sync(kAllLanes, sum, half);
    return sum;
  } else {
    if (lanes == 1) {
      A sum[N];
      for (int i = 0; i < N; ++i) sum[i] = values[i];
      return halving_sum<N>(sum);
    }
    const unsigned half = lanes / 2;
    const bool takes_odd = unsigned(lane()) & half;
    A taken[N / 2];
    for (int i = 0; i < N / 2; ++i) {
      const A even = values[2 * i], odd = values[2 * i + 1];
      taken[i] =
          (takes_odd ? odd : even) + __shfl_xor_sync(kAllLanes, takes_odd ? even : odd, int(half));
    }
    const A sum = lanes_sum(taken, half);
    return sum + __shfl_xor_sync(kAllLanes, sum, int(half));
  }
}

// Returns the halving sum of n <= 1024 terms to every lane of a warp, all of which call it. Halves
// down to 32 are added within a lane, as many as there are terms for, and the last five between
// lanes. term(i) is called once for each i < n.
template <class A, class Term>
__device__ A warp_sum(int n, const Term& term) {
  constexpr int kBits = 5;
  static_assert(kWarpSize << kBits == kSumWidth);
  int bits = 0;
  while (kWarpSize << bits < n) ++bits;
  const auto held = [&](int j) {
    const int i = j * kWarpSize + lane();
    return i < n ? term(i) : A(0);
  };
  const A own[1] = {lane_tree<A, kBits>(held, bits)};
  return lanes_sum(own, kWarpSize);
}

constexpr int kLevels = 3, kTopLevel = 16;  // terms of the last level
constexpr int kSumTerms = (kLevels - 1) * kSumWidth + kTopLevel;

// Returns the canonical sum of up to 2^34 terms to every thread of the block,
// all of which call it. Warps sum groups of 1024, and the sums of a full level become one term of
// the next level.
template <class A, class Term>
__device__ A block_sum(int64_t n, const Term& term) {
  EFFEBM_SHARED(A, partial, kSumTerms);
  EFFEBM_SHARED(A, result, 1);
  const int64_t groups = groups_of(n);
  int count[kLevels] = {};              // the same in every thread
  const auto reduce = [&](int level) {  // into the next level, or the result
    __syncthreads();
    if (warp() == 0) {
      const A* terms = partial + level * kSumWidth;
      const A sum = warp_sum<A>(count[level], [&](int i) { return terms[i]; });
      if (lane() == 0) {
        result[0] = sum;
        if (level + 1 < kLevels) partial[(level + 1) * kSumWidth + count[level + 1]] = sum;
      }
    }
    __syncthreads();
    if (level + 1 < kLevels) ++count[level + 1];
    count[level] = 0;
  };
  for (int64_t first = 0; first < groups; first += warps()) {
    const int64_t group = first + warp();
    if (group < groups) {
      const int64_t begin = group * kSumWidth;
      const int64_t left = n - begin;
      const A sum = warp_sum<A>(left < kSumWidth ? int(left) : kSumWidth,
                                [&](int i) { return term(begin + i); });
      if (lane() == 0) partial[count[0] + warp()] = sum;
    }
    count[0] += groups - first < warps() ? int(groups - first) : warps();
    for (int level = 0; level + 1 < kLevels && count[level] == kSumWidth; ++level) reduce(level);
  }
  for (int level = 0; level < kLevels; ++level)
    if (count[level] > 0) reduce(level);
  return result[0];  // the next sum overwrites it after a barrier only
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
