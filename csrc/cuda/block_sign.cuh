// Block-Sign, one thread block per row: tile by tile, first the scales of the blocks of entries
// that start in the tile, then the tile's elements.
#pragma once

#include "topk.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// One block per multiprocessor is enough: with more asked for, the compiler spills registers.
template <class Row, class Params>
__global__ void __launch_bounds__(kThreads, 1)
    block_sign_rows(Params p, int64_t block_size, bool vector) {
  using A = typename Row::A;
  EFFEBM_SHARED(A, scales, kTile);  // of the blocks that start in the tile
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    const Row row(p, r, vector);
    const auto size_of = [&](int64_t block) {
      const int64_t left = p.dim - block * block_size;
      return left < block_size ? left : block_size;
    };
    const auto magnitude = [&](int64_t i) { return core::abs(row.u(i)); };
    A carried = A(0);  // the scale of the block that reaches into the tile
    for (int64_t tile = 0; tile < p.dim; tile += kTile) {
      const int64_t tile_end = tile + kTile < p.dim ? tile + kTile : p.dim;
      const int64_t first = (tile + block_size - 1) / block_size;
      const int64_t last = (tile_end + block_size - 1) / block_size;  // one past
      if (block_size <= kSumWidth) {
        for (int64_t b = first + warp(); b < last; b += kWarps) {
          const A sum =
              warp_sum<A>(int(size_of(b)), [&](int i) { return magnitude(b * block_size + i); });
          if (lane() == 0) scales[b - first] = sum;
        }
      } else if (first < last) {  // at most one starts in a tile
        const A sum = block_sum<A>(size_of(first),
                                   [&](int64_t i) { return magnitude(first * block_size + i); });
        if (threadIdx.x == 0) scales[0] = sum;
      }
      __syncthreads();
      for (int64_t b = first + int(threadIdx.x); b < last; b += kThreads)
        scales[b - first] = divide(scales[b - first], A(size_of(b)));
      __syncthreads();
      const int64_t begin = tile + int(threadIdx.x) * kQuad;
      if (begin < tile_end) {
        const int n = tile_end - begin < kQuad ? int(tile_end - begin) : kQuad;
        A u[kQuad], c[kQuad];
        row.load(begin, n, u);
        int64_t block = begin / block_size;
        int64_t left = (block + 1) * block_size - begin;  // in this block
        for (int i = 0; i < kQuad; ++i, --left) {
          if (left == 0) {
            ++block;
            left = block_size;
          }
          c[i] = i < n ? signed_scale(u[i], block < first ? carried : scales[block - first]) : A(0);
        }
        row.put(begin, n, u, c);
      }
      if (first < last) carried = scales[last - first - 1];
      __syncthreads();  // before the next tile's scales are written
    }
  }
}

template <class Row, class Params>
void launch_block_sign_rows(const Params& p, int64_t block_size, bool vector, void* stream) {
  constexpr auto kernel = &block_sign_rows<Row, Params>;
  const int64_t at_most_row = block_size < p.dim ? block_size : p.dim;
  EFFEBM_LAUNCH(kernel, grid_for(p.rows), kThreads, stream, p, at_most_row, vector);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
