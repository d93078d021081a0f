// Block-Sign of a row: every entry becomes its sign times the mean magnitude of its block.
#pragma once

#include "arith.h"
#include "dtype.h"

namespace effebm {

// Blocks are consecutive runs of block_size elements of a row of dim; the last may be short.
struct BlockSignParams {
  DType dtype;
  int64_t rows, dim, block_size;
  const void* x;
  void* out;
};

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

// An exact zero stays (positive) zero, also where the scale is not finite.
template <class A>
EFFEBM_HD A signed_scale(A v, A scale) {
  return v == A(0) ? A(0) : copysign(scale, v);
}

}  // namespace effebm::inline EFFEBM_ISA::core
