#include "block_sign.cuh"
#include "launch.h"
#include "step_row.cuh"
#include "topk.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// The rows' factors of clip by norm: they need all of a row before its first element can move.
template <class T>
__global__ void __launch_bounds__(kThreads) norm_scales(StepParams p) {
  using A = Compute<T>;
  for (int64_t r = blockIdx.x; r < p.rows; r += gridDim.x) {
    const T* grad = static_cast<const T*>(p.grad) + r * p.dim;
    const A sum =
        block_sum<A>(p.dim, [grad](int64_t i) { return term(widen(grad[i]), widen(grad[i])); });
    if (threadIdx.x == 0) static_cast<A*>(p.norm_scales)[r] = norm_scale(sum, A(p.clip_limit));
  }
}

// Without a compressor the tiles of all rows are alike, so thread blocks share them out.
template <class T, bool kTold>
__global__ void __launch_bounds__(kThreads)
    plain_tiles(StepParams p, int64_t tiles_per_row, bool vector) {
  using A = Compute<T>;
  const int64_t tiles = p.rows * tiles_per_row;
  for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
    const int64_t r = t / tiles_per_row;
    const int64_t tile = (t - r * tiles_per_row) * kTile;
    const int64_t begin = tile + int(threadIdx.x) * kQuad;
    const StepRow<T, kTold> row(p, r, vector);
    if (begin < p.dim) {
      const int n = p.dim - begin < kQuad ? int(p.dim - begin) : kQuad;
      A u[kQuad];
      row.read(begin, n, u);
      row.put(begin, n, u, u);
    }
    row.end_tile(tile, int(p.dim - tile < kTile ? p.dim - tile : kTile));
  }
}

// The sums of rows of more than one group from those of their groups.
template <class A>
__global__ void __launch_bounds__(kThreads) sum_groups(const A* sums, int64_t groups, A* out) {
  const A* own = sums + int64_t(blockIdx.x) * groups;
  const A sum = block_sum<A>(groups, [own](int64_t i) { return own[i]; });
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

template <class T, bool kTold>
void launch_rows(const StepParams& p, void* stream) {
  const bool vector = can_vectorise<T>(p);
  switch (p.compressor) {
    case Compressor::none: {
      constexpr auto kernel = &plain_tiles<T, kTold>;
      const int64_t tiles_per_row = (p.dim + kTile - 1) / kTile;
      EFFEBM_LAUNCH(kernel, grid_for(p.rows * tiles_per_row), kThreads, stream, p, tiles_per_row,
                    vector);
      return;
    }
    case Compressor::topk:
      return launch_topk_rows<StepRow<T, kTold>>(p, p.compressor_size, vector, stream);
    case Compressor::block_sign:
      return launch_block_sign_rows<StepRow<T, kTold>>(p, blocks_of(p), vector, stream);
  }
}

template <class T>
void launch_step(const LangevinStepParams& params, void* workspace, void* stream) {
  using A = Compute<T>;
  const int64_t groups = groups_of(params.dim);
  A* const norm_scale = static_cast<A*>(workspace);
  A* const group_sums = norm_scale + (params.clip == Clip::norm ? params.rows : 0);
  StepParams p{params, nullptr, groups > 1 ? group_sums : params.row_sums};
  if (p.clip == Clip::norm) {
    constexpr auto kernel = &norm_scales<T>;
    p.norm_scales = norm_scale;
    EFFEBM_LAUNCH(kernel, grid_for(p.rows), kThreads, stream, p);
  }
  if (p.x && !p.drift && p.row_sums_of == RowSums::none) return launch_rows<T, false>(p, stream);
  launch_rows<T, true>(p, stream);
  if (p.row_sums_of != RowSums::none && groups > 1) {
    constexpr auto kernel = &sum_groups<A>;
    EFFEBM_LAUNCH(kernel, unsigned(kRowSums * p.rows), kThreads, stream,
                  static_cast<const A*>(group_sums), groups, static_cast<A*>(p.row_sums));
  }
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

namespace effebm::cuda {

int64_t step_workspace(const LangevinStepParams& p) {
  const int64_t groups = cuda_kernels::groups_of(p.dim);
  return (p.clip == Clip::norm ? p.rows : 0) +
         (p.row_sums_of != RowSums::none && groups > 1 ? kRowSums * p.rows * groups : 0);
}

void launch_langevin_step(const LangevinStepParams& p, void* workspace, void* stream) {
  using namespace cuda_kernels;
  dispatch(p.dtype, [&](auto zero) { launch_step<decltype(zero)>(p, workspace, stream); });
}

}  // namespace effebm::cuda
