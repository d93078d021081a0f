// The scales of any blocks of Block-Sign, for a flat kernel that reads the row a second time. A
// first kernel sums groups of 1024 entries, window by window of all rows; a second joins the sums
// of long blocks.
#pragma once

#include "../core/block_sign.h"
#include "block_sign_flat.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Sums the groups that begin in each window of 1024 elements, by a warp per window. The only group
// of a block gives the block's scale.
template <class Op>
__global__ void __launch_bounds__(kThreads)
    sum_windows(typename Op::Params p, Blocks blocks, GroupSums groups) {
  using A = typename Op::A;
  const int64_t windows = groups_of(p.dim), all = p.rows * windows;
  for (int64_t w = int64_t(blockIdx.x) * kWarps + warp(); w < all;
       w += int64_t(gridDim.x) * kWarps) {
    const int64_t r = w / windows, start = (w - r * windows) * kSumWidth;
    const int64_t end = p.dim - start < kSumWidth ? p.dim : start + kSumWidth;
    A* const sums = static_cast<A*>(groups.sums) + r * groups.per_row;
    const int64_t past = blocks.from(end);
    for (int64_t b = blocks.at(start); b < past; ++b) {
      const int64_t first = blocks.begin(b);
      const int64_t begin = first < start ? first + groups_of(start - first) * kSumWidth : first;
      if (begin >= end || begin >= blocks.end(b)) continue;
      const int64_t left = blocks.end(b) - begin;
      const A sum = warp_sum<A>(left < kSumWidth ? int(left) : kSumWidth,
                                [&](int i) { return core::abs(Op::value(p, r, begin + i)); });
      const int64_t size = blocks.end(b) - first;
      if (lane() == 0)
        sums[GroupSums::index(b, begin)] = size > kSumWidth ? sum : divide(sum, A(size));
    }
  }
}

// Replaces the sum of a long block's first group by the block's scale.
template <class A>
__global__ void __launch_bounds__(kThreads)
    join_windows(int64_t rows, int64_t dim, Blocks blocks, GroupSums groups) {
  const int64_t windows = groups_of(dim), all = rows * windows;
  for (int64_t w = blockIdx.x; w < all; w += gridDim.x) {
    const int64_t r = w / windows, start = (w - r * windows) * kSumWidth;
    const int64_t end = dim - start < kSumWidth ? dim : start + kSumWidth;
    const int64_t b = blocks.from(end) - 1;  // only this one can begin here and be so long
    const int64_t begin = blocks.begin(b), size = blocks.end(b) - begin;
    if (begin < start || size <= kSumWidth) continue;
    A* const sums = static_cast<A*>(groups.sums) + r * groups.per_row + GroupSums::index(b, begin);
    const A sum = block_sum<A>(groups_of(size), [=](int64_t i) { return sums[i]; });
    if (threadIdx.x == 0) sums[0] = divide(sum, A(size));
  }
}

// Leaves the scale of each block at its first group.
template <class Op>
void launch_window_scales(const typename Op::Params& p, const Blocks& blocks,
                          const GroupSums& groups, void* stream) {
  const int64_t windows = p.rows * groups_of(p.dim);
  constexpr auto sum = &sum_windows<Op>;
  constexpr auto join = &join_windows<typename Op::A>;
  EFFEBM_LAUNCH(sum, grid_for((windows + kWarps - 1) / kWarps), kThreads, stream, p, blocks,
                groups);
  EFFEBM_LAUNCH(join, grid_for(windows), kThreads, stream, p.rows, p.dim, blocks, groups);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
