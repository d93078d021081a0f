// Top-k of rows that have a team of thread blocks each, perhaps of one block. Counting digits from
// the top finds the threshold; one more pass keeps the keys above it and the first ties.
#pragma once

#include "../core/topk.h"
#include "resident.cuh"
#include "team.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

template <class A>
constexpr int kPasses = (KeyOf<A>::bits + kDigitBits - 1) / kDigitBits;

// The selection of a row's 0 < k < dim largest, and the number of its ties that lie before the
// block's slice.
template <class A>
struct SliceSelection {
  Selection<A> of_row;
  int64_t ties_before;
};

template <class Row, class Team>
__device__ SliceSelection<typename Row::A> select_topk(const Row& row, const Slice& slice,
                                                       int64_t k, Team& team) {
  using A = typename Row::A;
  EFFEBM_SHARED(uint32_t, count, kDigits);
  Key<A> prefix = 0;
  Digit found = {0, uint32_t(k)};
  for (int top = KeyOf<A>::bits; top > 0;) {
    const int shift = top > kDigitBits ? top - kDigitBits : 0;
    const Key<A> mask = (Key<A>(1) << (top - shift)) - 1;
    for (int digit = int(threadIdx.x); digit < kDigits; digit += threads()) count[digit] = 0;
    __syncthreads();
    for_tiles(slice, [&](int64_t begin, int n, int64_t) {
      if (n == 0) return;
      A u[kQuad];
      row.load(begin, n, u);
      for (int i = 0; i < kQuad; ++i) {
        const Key<A> key = order_key(u[i]);
        if (i < n && key >> top == prefix) atomicAdd(&count[key >> shift & mask], 1u);
      }
    });
    __syncthreads();
    found = team.find(count, found.wanted);
    prefix = prefix << (top - shift) | Key<A>(found.digit);
    top = shift;
  }
  return {{prefix, int64_t(found.wanted)}, int64_t(team.before(count[found.digit]))};
}

template <class Row, class Team, class Params>
__global__ void __launch_bounds__(kMostThreads<typename Row::A>, 1)
    topk_rows(Params p, int64_t k, bool vector, TeamShape shape) {
  using A = typename Row::A;
  Team team(shape);
  const Slice slice = team.slice(p.dim);
  team.begin();
  for (int64_t r = team.index(); r - team.index() < p.rows; r += team.count()) {
    if (r >= p.rows) {
      team.skip(kPasses<A>);
      continue;
    }
    const Row row(p, r, vector, slice);
    const SliceSelection<A> selection = select_topk(row, slice, k, team);
    const Key<A> threshold = selection.of_row.threshold;
    int64_t ties_before = selection.ties_before;
    for_tiles(slice, [&](int64_t begin, int n, int64_t tile) {
      A u[kQuad] = {}, c[kQuad];
      uint32_t ties = 0;
      if (n > 0) row.read(begin, n, u);
      for (int i = 0; i < kQuad; ++i) ties += i < n && order_key(u[i]) == threshold;
      const Scan scan = block_scan(ties);
      int64_t rank = ties_before + scan.before;
      ties_before += scan.total;
      for (int i = 0; i < kQuad; ++i) {
        const Key<A> key = order_key(u[i]);
        const bool tie = key == threshold;
        c[i] = key > threshold || (tie && rank < selection.of_row.ties) ? u[i] : A(0);
        rank += tie;
      }
      if (n > 0) row.put(begin, n, u, c);
      row.end_tile(tile, slice.end);
    });
  }
  team.end();
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
