// Top-k of rows so short that each has one warp. Lane l holds the quads l, l + 32, ..., with their
// keys in registers and u in shared memory. Halving an interval of keys finds the threshold.
#pragma once

#include "../core/topk.h"
#include "rows.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Returns how many of the warp's keys are at least `least`. Every lane calls it.
template <class K, int kKeys>
__device__ uint32_t count_from(const K (&keys)[kKeys], K least) {
  uint32_t own = 0;
#pragma unroll
  for (int i = 0; i < kKeys; ++i) own += keys[i] >= least;
  return __reduce_add_sync(kAllLanes, own);
}

// Selects the k largest of the warp's keys, 0 < k < their number. Zeros may stand for keys behind
// the row's end, because their positions are the last.
template <class A, int kKeys>
__device__ Selection<A> select_in_warp(const Key<A> (&keys)[kKeys], uint32_t k) {
  Key<A> low = 0, high = KeyOf<A>::infinity + 2;  // at least k keys are >= low, fewer are >= high
  uint32_t from_high = 0;
  while (high - low > 1) {
    const Key<A> middle = low + (high - low) / 2;
    const uint32_t count = count_from(keys, middle);
    if (count >= k) low = middle;
    if (count == k) return {low - 1, 0};
    if (count < k) {
      high = middle;
      from_high = count;
    }
  }
  return {low, int64_t(k - from_high)};
}

template <class Row, class Params, int kQuads>
__global__ void __launch_bounds__(kThreads, 1) topk_warps(Params p, int64_t k, bool vector) {
  using A = typename Row::A;
  EFFEBM_DYNAMIC_SHARED(A, rows);
  A* const held = rows + warp() * kQuads * kWarpQuads;
  for (int64_t r = int64_t(blockIdx.x) * kWarps + warp(); r < p.rows;
       r += int64_t(gridDim.x) * kWarps) {
    const Row row(p, r, vector);
    const auto begin_of = [](int j) { return (j * kWarpSize + lane()) * kQuad; };
    const auto size_of = [&](int begin) {
      const int64_t left = p.dim - begin;
      return left <= 0 ? 0 : left < kQuad ? int(left) : kQuad;
    };
    Key<A> keys[kQuads * kQuad];
#pragma unroll
    for (int j = 0; j < kQuads; ++j) {
      const int begin = begin_of(j), n = size_of(begin);
      A u[kQuad] = {};
      if (n > 0) row.read(begin, n, u);
      hold_quad(held, begin, u);
      for (int i = 0; i < kQuad; ++i) keys[j * kQuad + i] = i < n ? order_key(u[i]) : 0;
    }
    const Selection<A> selection = select_in_warp<A>(keys, uint32_t(k));
    int64_t ties_before = 0;  // in the quads before
#pragma unroll 1
    for (int j = 0; j < kQuads; ++j) {
      const int begin = begin_of(j), n = size_of(begin);
      A u[kQuad], c[kQuad];
      load_quad<A>(held, begin, kQuad, true, u);
      bool tie[kQuad];
      int64_t rank = ties_before;
      for (int i = 0; i < kQuad; ++i) {
        tie[i] = selection.ties > 0 && i < n && order_key(u[i]) == selection.threshold;
        if (selection.ties == 0) continue;
        const unsigned lanes = __ballot_sync(kAllLanes, tie[i]);
        rank += __popc(lanes & ((1u << lane()) - 1));
        ties_before += __popc(lanes);
      }
      if (n == 0) continue;
      for (int i = 0; i < kQuad; ++i) {
        c[i] = order_key(u[i]) > selection.threshold || (tie[i] && rank < selection.ties) ? u[i]
                                                                                          : A(0);
        rank += tie[i];
      }
      row.put(begin, n, u, c);
    }
  }
}

template <class Row, int kQuads, class Params>
void launch_topk_warps(const Params& p, int64_t k, bool vector, void* stream) {
  using A = typename Row::A;
  constexpr auto kernel = &topk_warps<Row, Params, kQuads>;
  constexpr int64_t bytes = kWarps * kQuads * kWarpQuads * int64_t(sizeof(A));
  cuda::allow_shared_memory(kernel, bytes);
  EFFEBM_LAUNCH_SHARED(kernel, grid_for((p.rows + kWarps - 1) / kWarps), kThreads, bytes, stream, p,
                       k, vector);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
