// Clips of a gradient, by value or by the norm of its row. Comparisons are written so that NaN
// stays NaN.
#pragma once

#include "arith.h"

namespace effebm {

enum class Clip : int { none, value, norm };

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

template <class A>
EFFEBM_HD A clamp(A v, A lower, A upper) {
  return v < lower ? lower : (v > upper ? upper : v);
}

// Returns the factor that brings a row of the given sum of squares down to Euclidean norm `limit`.
template <class A>
EFFEBM_HD A norm_scale(A sum_of_squares, A limit) {
  const A norm = sqrt(sum_of_squares);
  return norm > limit ? divide(limit, norm) : A(1);
}

// Returns g after the clip. `limit` is the limit of clip by value, or the row's factor of clip by
// norm.
template <class A>
EFFEBM_HD A clipped(Clip clip, A g, A limit) {
  return clip == Clip::value ? clamp(g, -limit, limit) : clip == Clip::norm ? g * limit : g;
}

template <class A>
EFFEBM_HD bool is_clipped(Clip clip, A g, A limit) {
  return clip == Clip::value ? g < -limit || g > limit : clip == Clip::norm && limit != A(1);
}

}  // namespace effebm::inline EFFEBM_ISA::core
