// Block-Sign of blocks of 4, 8, ..., 128 elements. Each lane has a quad, so that a block lies in
// the registers of one warp.
#pragma once

#include "../core/block_sign.h"
#include "tiles.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// A block takes `lanes` lanes, a power of two. It has lanes * kQuad elements, or fewer if it ends
// its row.
struct SignInLanes {
  int64_t dim;
  int lanes;

  template <class A, class Params>
  __device__ const SignInLanes& of_row(const Params&, int64_t) const {
    return *this;
  }

  template <class A>
  __device__ void operator()(int64_t begin, int, const A (&u)[kQuad], A (&c)[kQuad]) const {
    A sum[kQuad];
    for (int i = 0; i < kQuad; ++i) sum[i] = core::abs(u[i]);
    for (int half = lanes / 2; half >= 1; half /= 2)
      for (int i = 0; i < kQuad; ++i)
        sum[i] = sum[i] + __shfl_down_sync(kAllLanes, sum[i], half, lanes);
    const int64_t left = dim - (begin - (lane() & (lanes - 1)) * kQuad);  // from the block's start
    const A mean = divide((sum[0] + sum[2]) + (sum[1] + sum[3]),
                          A(left < lanes * kQuad ? left : lanes * kQuad));
    const A scale = __shfl_sync(kAllLanes, mean, 0, lanes);
    for (int i = 0; i < kQuad; ++i) c[i] = signed_scale(u[i], scale);
  }
};

// Returns how many lanes a block takes, or 0 if it does not fit. A row that is one block is padded
// with zeros, which do not change its sum.
inline int lanes_of(int64_t dim, int64_t block_size) {
  for (int lanes = 1; lanes <= kWarpSize; lanes *= 2)
    if (block_size == lanes * kQuad || (block_size >= dim && dim <= lanes * kQuad)) return lanes;
  return 0;
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
