#include "block_sign.cuh"
#include "launch.h"
#include "topk.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Without a compressor the tiles of all rows are alike, so thread blocks share them out.
template <class T>
__global__ void __launch_bounds__(kThreads)
    plain_tiles(LangevinStepParams p, int64_t tiles_per_row, bool vector) {
  using A = Compute<T>;
  const int64_t tiles = p.rows * tiles_per_row;
  for (int64_t t = blockIdx.x; t < tiles; t += gridDim.x) {
    const int64_t r = t / tiles_per_row;
    const int64_t begin = (t - r * tiles_per_row) * kTile + int(threadIdx.x) * kQuad;
    if (begin >= p.dim) continue;
    const int n = p.dim - begin < kQuad ? int(p.dim - begin) : kQuad;
    const StepRow<T> row(p, r, vector);
    A u[kQuad];
    row.load(begin, n, u);
    row.put(begin, n, u, u);
  }
}

template <class T>
void launch_plain_tiles(const LangevinStepParams& p, bool vector, void* stream) {
  constexpr auto kernel = &plain_tiles<T>;
  const int64_t tiles_per_row = (p.dim + kTile - 1) / kTile;
  EFFEBM_LAUNCH(kernel, grid_for(p.rows * tiles_per_row), kThreads, stream, p, tiles_per_row,
                vector);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels

namespace effebm::cuda {

void launch_langevin_step(const LangevinStepParams& p, void* stream) {
  using namespace cuda_kernels;
  dispatch(p.dtype, [&](auto zero) {
    using T = decltype(zero);
    const bool vector = can_vectorise<T>(p);
    switch (p.compressor) {
      case Compressor::none:
        return launch_plain_tiles<T>(p, vector, stream);
      case Compressor::topk:
        return launch_topk_rows<StepRow<T>>(p, p.compressor_size, vector, stream);
      case Compressor::block_sign:
        return launch_block_sign_rows<StepRow<T>>(p, p.compressor_size, vector, stream);
    }
  });
}

}  // namespace effebm::cuda
