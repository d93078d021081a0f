// Block-Sign of blocks that fit into shared memory. A thread block takes a row, or a few of the
// row's blocks of entries. For each tile it first finds the scales of the blocks of entries that
// start there, and then compresses the tile's elements.
#pragma once

#include "../core/block_sign.h"
#include "resident.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// One block per multiprocessor is enough: if more were asked for, the compiler would spill
// registers. A segment begins where a block of entries begins.
template <class Row, class Params>
__global__ void __launch_bounds__(kMostThreads<typename Row::A>, 1)
    block_sign_segments(Params p, Blocks blocks, int64_t segment, bool vector) {
  using A = typename Row::A;
  EFFEBM_SHARED(A, scales, kMostTile<A>);  // sums, then means, of the blocks that start in the tile
  const auto size_of = [&](int64_t block) { return blocks.end(block) - blocks.begin(block); };
  const int64_t per_row = (p.dim + segment - 1) / segment;
  for (int64_t s = blockIdx.x; s < p.rows * per_row; s += gridDim.x) {
    const int64_t r = s / per_row, start = (s - r * per_row) * segment;
    const Slice slice = {start, p.dim - start < segment ? p.dim : start + segment};
    const Resident<Row> row(p, r, vector, slice);
    const auto magnitude = [&](int64_t i) { return core::abs(row.u(i)); };
    A carried = A(0);  // the scale of the block that reaches into the tile
    for_tiles(slice, [&](int64_t begin, int n, int64_t tile) {
      const int64_t next = tile + threads() * kQuad, tile_end = next < slice.end ? next : slice.end;
      const int64_t first = blocks.from(tile), last = blocks.from(tile_end);  // one past
      for (int64_t b = first + warp(); b < last; b += warps()) {
        const int64_t from = blocks.begin(b), size = size_of(b);
        if (size > kSumWidth) continue;
        const A sum = warp_sum<A>(int(size), [&](int i) { return magnitude(from + i); });
        if (lane() == 0) scales[b - first] = sum;
      }
      int64_t before = first;
      for (int64_t window = tile; window < tile_end; window += kSumWidth) {
        const int64_t past =
            blocks.from(window + kSumWidth < tile_end ? window + kSumWidth : tile_end);
        // Only the last of the blocks that start in a window can be so long.
        if (before < past && size_of(past - 1) > kSumWidth) {
          const int64_t from = blocks.begin(past - 1);
          const A sum = block_sum<A, kResidentLevels>(
              size_of(past - 1), [&](int64_t i) { return magnitude(from + i); });
          if (threadIdx.x == 0) scales[past - 1 - first] = sum;
        }
        before = past;
      }
      __syncthreads();
      for (int64_t b = first + int(threadIdx.x); b < last; b += threads())
        scales[b - first] = divide(scales[b - first], A(size_of(b)));
      __syncthreads();
      if (n > 0) {
        A u[kQuad], c[kQuad];
        row.read(begin, n, u);
        int64_t block = blocks.at(begin);
        int64_t left = blocks.end(block) - begin;  // in this block
        for (int i = 0; i < kQuad; ++i, --left) {
          if (left == 0 && i < n) left = size_of(++block);
          c[i] = i < n ? signed_scale(u[i], block < first ? carried : scales[block - first]) : A(0);
        }
        row.put(begin, n, u, c);
      }
      row.end_tile(tile, slice.end);
      if (first < last) carried = scales[last - first - 1];
      __syncthreads();  // before the next tile's scales are written
    });
  }
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
