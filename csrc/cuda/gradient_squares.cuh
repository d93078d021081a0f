// The sums of squares of a gradient by groups of 1024, for clip by norm.
#pragma once

#include "join_groups.cuh"
#include "step_row.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// Sums each group by a warp. Clip by norm needs the sum of a whole row before the row's first
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

struct AsNormScale {
  double limit;
  template <class A>
  __device__ A operator()(A sum_of_squares) const {
    return norm_scale(sum_of_squares, A(limit));
  }
};

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
