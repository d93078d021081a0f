// Block-Sign of rows that cannot be cut into segments that fit into shared memory. A first kernel
// sums groups of 1024 entries, window by window of all rows; a second joins the sums of long
// blocks; a third compresses the tiles. A row is read twice.
#pragma once

#include "../core/block_sign.h"
#include "tiles.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// The sums of the groups of 1024 entries into which a row's blocks are cut.
struct GroupSums {
  void* sums;  // compute type
  int64_t per_row;

  // Returns the index of the sum of the group that begins at `begin` in a block. The block's next
  // group has the next index, and groups of other blocks have other indices.
  static __device__ int64_t index(int64_t block, int64_t begin) {
    return block + begin / kSumWidth;
  }
  static int64_t count(int64_t dim, int64_t n_blocks) { return n_blocks + dim / kSumWidth + 1; }
};

// Sums the groups that begin in each window of 1024 elements, by a warp per window.
template <class Row, class Params>
__global__ void __launch_bounds__(kThreads) sum_windows(Params p, Blocks blocks, GroupSums groups) {
  using A = typename Row::A;
  const int64_t windows = groups_of(p.dim), all = p.rows * windows;
  for (int64_t w = int64_t(blockIdx.x) * kWarps + warp(); w < all;
       w += int64_t(gridDim.x) * kWarps) {
    const int64_t r = w / windows, start = (w - r * windows) * kSumWidth;
    const int64_t end = p.dim - start < kSumWidth ? p.dim : start + kSumWidth;
    const Row row(p, r, false);
    A* const sums = static_cast<A*>(groups.sums) + r * groups.per_row;
    const int64_t past = blocks.from(end);
    for (int64_t b = blocks.at(start); b < past; ++b) {
      const int64_t first = blocks.begin(b);
      const int64_t begin = first < start ? first + groups_of(start - first) * kSumWidth : first;
      if (begin >= end || begin >= blocks.end(b)) continue;
      const int64_t left = blocks.end(b) - begin;
      const A sum = warp_sum<A>(left < kSumWidth ? int(left) : kSumWidth,
                                [&](int i) { return core::abs(row.u(begin + i)); });
      if (lane() == 0) sums[GroupSums::index(b, begin)] = sum;
    }
  }
}

// Replaces the sum of a long block's first group by the sum of the block.
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
    if (threadIdx.x == 0) sums[0] = sum;
  }
}

struct SignBySums {
  Blocks blocks;
  GroupSums groups;

  template <class A>
  struct OfRow {
    const Blocks& blocks;
    const A* sums;

    __device__ void operator()(int64_t begin, int n, const A (&u)[kQuad], A (&c)[kQuad]) const {
      if (n == 0) return;
      int64_t block = blocks.at(begin), left = blocks.end(block) - begin;
      A scale = scale_of(block);
      for (int i = 0; i < kQuad; ++i, --left) {
        if (left == 0 && i < n) {
          left = blocks.end(block + 1) - blocks.begin(block + 1);
          scale = scale_of(++block);
        }
        c[i] = signed_scale(u[i], scale);
      }
    }

    __device__ A scale_of(int64_t block) const {
      const int64_t begin = blocks.begin(block);
      return divide(sums[GroupSums::index(block, begin)], A(blocks.end(block) - begin));
    }
  };

  template <class A, class Params>
  __device__ OfRow<A> of_row(const Params&, int64_t r) const {
    return {blocks, static_cast<const A*>(groups.sums) + r * groups.per_row};
  }
};

template <class Row, class Params>
void launch_block_sign_windows(const Params& p, const Blocks& blocks, bool vector,
                               const GroupSums& groups, void* stream) {
  using A = typename Row::A;
  const int64_t windows = p.rows * groups_of(p.dim);
  constexpr auto sum = &sum_windows<Row, Params>;
  constexpr auto join = &join_windows<A>;
  EFFEBM_LAUNCH(sum, grid_for((windows + kWarps - 1) / kWarps), kThreads, stream, p, blocks,
                groups);
  EFFEBM_LAUNCH(join, grid_for(windows), kThreads, stream, p.rows, p.dim, blocks, groups);
  launch_tiles<Row>(p, SignBySums{blocks, groups}, vector, stream);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
