// Block-Sign, one thread block per row: tile by tile, first the scales of the blocks of entries
// that start in the tile, then the tile's elements.
#pragma once

#include "block_sign_lanes.cuh"
#include "resident.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// One block per multiprocessor is enough: with more asked for, the compiler spills registers.
template <class Row, class Params>
__global__ void __launch_bounds__(kThreads, 1)
    block_sign_rows(Params p, Blocks blocks, bool vector) {
  using A = typename Row::A;
  EFFEBM_SHARED(A, scales, kTile);  // of the blocks that start in the tile
  const auto size_of = [&](int64_t block) { return blocks.end(block) - blocks.begin(block); };
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    const Row row(p, r, vector);
    const auto magnitude = [&](int64_t i) { return core::abs(row.u(i)); };
    A carried = A(0);  // the scale of the block that reaches into the tile
    for (int64_t tile = 0; tile < p.dim; tile += kTile) {
      const int64_t tile_end = tile + kTile < p.dim ? tile + kTile : p.dim;
      const int64_t first = blocks.from(tile), last = blocks.from(tile_end);  // one past
      for (int64_t b = first + warp(); b < last; b += kWarps) {
        const int64_t begin = blocks.begin(b), size = blocks.end(b) - begin;
        if (size > kSumWidth) continue;
        const A sum = warp_sum<A>(int(size), [&](int i) { return magnitude(begin + i); });
        if (lane() == 0) scales[b - first] = sum;
      }
      if (first < last && size_of(last - 1) > kSumWidth) {  // only the last can be so long
        const int64_t begin = blocks.begin(last - 1);
        const A sum =
            block_sum<A>(size_of(last - 1), [&](int64_t i) { return magnitude(begin + i); });
        if (threadIdx.x == 0) scales[last - 1 - first] = sum;
      }
      __syncthreads();
      for (int64_t b = first + int(threadIdx.x); b < last; b += kThreads)
        scales[b - first] = divide(scales[b - first], A(size_of(b)));
      __syncthreads();
      const int64_t begin = tile + int(threadIdx.x) * kQuad;
      if (begin < tile_end) {
        const int n = tile_end - begin < kQuad ? int(tile_end - begin) : kQuad;
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
      row.end_tile(tile, int(tile_end - tile));
      if (first < last) carried = scales[last - first - 1];
      __syncthreads();  // before the next tile's scales are written
    }
  }
}

template <class Row, class Params>
void launch_block_sign_rows(const Params& p, const Blocks& blocks, bool vector, void* stream) {
  using A = typename Row::A;
  if constexpr (!Row::kNotes)
    if (const int lanes = lanes_of(p.dim, blocks.size()))
      return launch_block_sign_lanes<Row>(p, lanes, vector, stream);
  constexpr int64_t kStatic = (kTile + kSumTerms) * int64_t(sizeof(A)) + 64;
  if (is_resident<Row>(p.dim, kStatic)) {
    const int64_t bytes = resident_bytes<A>(p.dim);
    constexpr auto kernel = &block_sign_rows<Resident<Row>, Params>;
    cuda::allow_shared_memory(kernel, bytes);
    EFFEBM_LAUNCH_SHARED(kernel, grid_for(p.rows), kThreads, bytes, stream, p, blocks, vector);
  } else {
    constexpr auto kernel = &block_sign_rows<Row, Params>;
    EFFEBM_LAUNCH(kernel, grid_for(p.rows), kThreads, stream, p, blocks, vector);
  }
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
