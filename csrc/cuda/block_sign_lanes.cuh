// Block-Sign of blocks of 4, 8, ..., 128 elements: a quad per lane, so that a block lies in one
// warp and nothing but registers.
#pragma once

#include "rows.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// `lanes` of a block: its size is lanes * kQuad, a power of two.
template <class Row, class Params>
__global__ void __launch_bounds__(kThreads) block_sign_lanes(Params p, int lanes, bool vector) {
  using A = typename Row::A;
  const int64_t per_row = (p.dim + kWarpQuads - 1) / kWarpQuads, all = p.rows * per_row;
  for (int64_t w = int64_t(blockIdx.x) * kWarps + warp(); w < all;
       w += int64_t(gridDim.x) * kWarps) {
    const int64_t r = w / per_row, start = (w - r * per_row) * kWarpQuads;
    const Row row(p, r, vector);
    const int64_t begin = start + lane() * kQuad, left = p.dim - begin;
    const int n = left <= 0 ? 0 : left < kQuad ? int(left) : kQuad;
    A u[kQuad] = {}, sum[kQuad], c[kQuad];
    if (n > 0) row.read(begin, n, u);
    for (int i = 0; i < kQuad; ++i) sum[i] = core::abs(u[i]);
    for (int half = lanes / 2; half >= 1; half /= 2)
      for (int i = 0; i < kQuad; ++i)
        sum[i] = sum[i] + __shfl_down_sync(kAllLanes, sum[i], half, lanes);
    const int64_t left_of_block = p.dim - (start + lane() / lanes * lanes * kQuad);
    const int size = left_of_block < lanes * kQuad ? int(left_of_block) : lanes * kQuad;
    const A mean = divide((sum[0] + sum[2]) + (sum[1] + sum[3]), A(size));
    const A scale = __shfl_sync(kAllLanes, mean, 0, lanes);
    for (int i = 0; i < kQuad; ++i) c[i] = signed_scale(u[i], scale);
    if (n > 0) row.put(begin, n, u, c);
  }
}

// How many lanes a block takes where it fits: a row that is one block is padded with zeros, which
// its sum does not feel. 0 where it does not.
inline int lanes_of(int64_t dim, int64_t block_size) {
  for (int lanes = 1; lanes <= kWarpSize; lanes *= 2)
    if (block_size == lanes * kQuad || (block_size >= dim && dim <= lanes * kQuad)) return lanes;
  return 0;
}

template <class Row, class Params>
void launch_block_sign_lanes(const Params& p, int lanes, bool vector, void* stream) {
  constexpr auto kernel = &block_sign_lanes<Row, Params>;
  const int64_t warps = p.rows * ((p.dim + kWarpQuads - 1) / kWarpQuads);
  EFFEBM_LAUNCH(kernel, grid_for((warps + kWarps - 1) / kWarps), kThreads, stream, p, lanes,
                vector);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
