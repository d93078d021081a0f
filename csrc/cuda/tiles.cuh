// Rows whose tiles can be compressed one by one, so that thread blocks share the tiles. A short row
// takes only some threads of a block, which then has several rows at once.
#pragma once

#include "rows.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// All threads call compress.of_row(p, r)(begin, n, u, c), those behind the row's end with n = 0.
template <class Row, class Params, class Compress>
__global__ void __launch_bounds__(kThreads, 1)
    tiles(Params p, Compress compress, int log_width, bool vector) {
  using A = typename Row::A;
  const int width = 1 << log_width, rows_at_once = kThreads >> log_width;
  const int in_row = int(threadIdx.x) & (width - 1);
  const int64_t parts = (p.dim + kTilesPerTurn * kTile - 1) / (kTilesPerTurn * kTile);
  const int64_t turns = (p.rows + rows_at_once - 1) / rows_at_once * parts;
  for (int64_t turn = blockIdx.x; turn < turns; turn += gridDim.x) {
    const int64_t band = turn / parts, first = band * rows_at_once;
    const int64_t start = (turn - band * parts) * kTilesPerTurn * kTile;
    const int64_t end =
        p.dim - start < kTilesPerTurn * kTile ? p.dim : start + kTilesPerTurn * kTile;
    const int64_t own = first + (int(threadIdx.x) >> log_width);
    const int64_t r = own < p.rows ? own : p.rows - 1;
    const Row row(p, r, vector);
    const auto& compress_quad = compress.template of_row<A>(p, r);
    for (int64_t tile = start; tile < end; tile += kTile) {
      const int64_t begin = tile + in_row * kQuad, left = own < p.rows ? end - begin : 0;
      const int n = left <= 0 ? 0 : left < kQuad ? int(left) : kQuad;
      A u[kQuad] = {}, c[kQuad];
      if (n > 0) row.read(begin, n, u);
      compress_quad(begin, n, u, c);
      if (n > 0) row.put(begin, n, u, c);
      row.end_tile(tile, end, {width, r - first, p.rows - first});
    }
  }
}

// The compressors that keep everything, c = u, or nothing, c = 0.
template <bool kAll>
struct Keep {
  template <class A, class Params>
  __device__ const Keep& of_row(const Params&, int64_t) const {
    return *this;
  }

  template <class A>
  __device__ void operator()(int64_t, int, const A (&u)[kQuad], A (&c)[kQuad]) const {
    for (int i = 0; i < kQuad; ++i) c[i] = kAll ? u[i] : A(0);
  }
};

template <class Row, class Compress, class Params>
void launch_tiles(const Params& p, const Compress& compress, bool vector, void* stream) {
  int log_width = 0;
  while (int64_t(kQuad) << log_width < p.dim && 1 << log_width < kThreads) ++log_width;
  const int64_t rows_at_once = kThreads >> log_width, turn = kTilesPerTurn * kTile;
  const int64_t turns = (p.rows + rows_at_once - 1) / rows_at_once * ((p.dim + turn - 1) / turn);
  constexpr auto kernel = &tiles<Row, Params, Compress>;
  EFFEBM_LAUNCH(kernel, grid_for(turns), kThreads, stream, p, compress, log_width, vector);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
