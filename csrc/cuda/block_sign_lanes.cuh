// Block-Sign of blocks of 4, 8, ..., 128 elements: a quad per lane, so that a block lies in one
// warp and nothing but registers.
#pragma once

#include "../core/block_sign.h"
#include "tiles.cuh"

namespace effebm::inline EFFEBM_ISA::cuda_kernels {

// `lanes` of a block: its size is lanes * kQuad, a power of two.
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

// How many lanes a block takes where it fits: a row that is one block is padded with zeros, which
// its sum does not feel. 0 where it does not.
inline int lanes_of(int64_t dim, int64_t block_size) {
  for (int lanes = 1; lanes <= kWarpSize; lanes *= 2)
    if (block_size == lanes * kQuad || (block_size >= dim && dim <= lanes * kQuad)) return lanes;
  return 0;
}

}  // namespace effebm::inline EFFEBM_ISA::cuda_kernels
