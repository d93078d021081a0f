// Sums over whole rows, from those of their groups of 1024.
#pragma once

#include "step_row.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// A warp per group of squares. The factors of clip by norm need all of a row before its first
// element can move.
template <class T>
__global__ void __launch_bounds__(kThreads) sum_squares(StepParams p, Compute<T>* sums) {
  using A = Compute<T>;
  const int64_t groups = groups_of(p.dim), all = p.rows * groups;
  for (int64_t g = int64_t(blockIdx.x) * kWarps + warp(); g < all;
       g += int64_t(gridDim.x) * kWarps) {
    const int64_t r = g / groups, begin = (g - r * groups) * kSumWidth, left = p.dim - begin;
    const T* grad = static_cast<const T*>(p.grad) + r * p.dim + begin;
    const A sum = warp_sum<A>(left < kSumWidth ? int(left) : kSumWidth,
                              [grad](int i) { return term(widen(grad[i]), widen(grad[i])); });
    if (lane() == 0) sums[g] = sum;
  }
}

struct AsSum {
  template <class A>
  __device__ A operator()(A sum) const {
    return sum;
  }
};

struct AsNormScale {
  double limit;
  template <class A>
  __device__ A operator()(A sum_of_squares) const {
    return norm_scale(sum_of_squares, A(limit));
  }
};

// A thread block per row: out = result(sum of the row's groups).
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
  constexpr auto kernel = &join_groups<A, Result>;
  EFFEBM_LAUNCH(kernel, grid_for(rows), kThreads, stream, sums, rows, groups, out, result);
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
