// Sums over whole rows, from the sums of their groups of 1024.
#pragma once

#include "access.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

struct AsSum {
  template <class A>
  __device__ A operator()(A sum) const {
    return sum;
  }
};

// Sets out = result(sum of the row's groups), by a warp per row, of at most 32 groups.
template <class A, class Result>
__global__ void __launch_bounds__(kThreads)
    join_few_groups(const A* sums, int64_t rows, int64_t groups, A* out, Result result) {
  const int64_t r = int64_t(blockIdx.x) * kWarps + warp();
  if (r >= rows) return;
  const A own[1] = {lane() < groups ? sums[r * groups + lane()] : A(0)};
  const A sum = lanes_sum(own, kWarpSize);
  if (lane() == 0) out[r] = result(sum);
}

// The same by a thread block per row, of any number of groups.
template <class A, class Result>
__global__ void __launch_bounds__(kThreads)
    join_groups(const A* sums, int64_t rows, int64_t groups, A* out, Result result) {
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const A* own = sums + r * groups;
    const A sum = block_sum<A>(groups, [own](int64_t i) { return own[i]; });
    if (threadIdx.x == 0) out[r] = result(sum);
  }
}

template <class A, class Result>
void launch_join_groups(const A* sums, int64_t rows, int64_t groups, A* out, const Result& result,
                        void* stream) {
  constexpr auto few = &join_few_groups<A, Result>, any = &join_groups<A, Result>;
  if (groups <= kWarpSize)
    EFFEBM_LAUNCH(few, unsigned((rows + kWarps - 1) / kWarps), kThreads, stream, sums, rows, groups,
                  out, result);
  else
    EFFEBM_LAUNCH(any, grid_for(rows), kThreads, stream, sums, rows, groups, out, result);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
