// The Langevin step x <- bounds(x - step_size / 2 * C(clip(g) + e) + noise_std * normal): what it
// is given, and what it does to one element. Comparisons are written so that NaN stays NaN.
#pragma once

#include "arith.h"
#include "dtype.h"

namespace effebm {

enum class Compressor : int { none, topk, block_sign };
enum class Clip : int { none, value, norm };
enum class Bounds : int { none, clamp, reflect };
enum class Rounding : int { nearest, stochastic };

// Rows of dim contiguous elements. "compute type": float64 for float64 states, else float32.
struct LangevinStepParams {
  DType dtype;
  int64_t rows, dim;
  const void* x;
  void* out;  // may be x
  const void* grad;
  void* residual;      // compute type, or null
  const int64_t* key;  // seed, offset
  int64_t offset;      // added to the key's
  int64_t first_chain;
  double step_size;
  const void* step_sizes;  // compute type, used instead of step_size unless null
  int64_t step_sizes_stride;
  bool has_noise_std;  // else noise_std = sqrt(step_size)
  double noise_std;
  const void* noise_stds;
  int64_t noise_stds_stride;
  Compressor compressor;
  int64_t compressor_size;  // k of Top-k, block size of Block-Sign
  Clip clip;
  double clip_limit;
  Bounds bounds;
  double lower, upper;
};

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

template <class A>
EFFEBM_HD A clamp(A v, A lower, A upper) {
  return v < lower ? lower : (v > upper ? upper : v);
}

// Mirrors once at the bound that was passed, then clamps what is still outside.
template <class A>
EFFEBM_HD A reflect(A v, A lower, A upper) {
  const A mirrored = v < lower ? (lower + lower) - v : (v > upper ? (upper + upper) - v : v);
  return clamp(mirrored, lower, upper);
}

// The scalars of one chain's step, in the compute type.
template <class A>
struct ChainScalars {
  A half_step;
  A noise_std;
};

template <class A>
EFFEBM_HD ChainScalars<A> chain_scalars(const LangevinStepParams& p, int64_t row) {
  const A step = p.step_sizes ? static_cast<const A*>(p.step_sizes)[row * p.step_sizes_stride]
                              : A(p.step_size);
  A noise = sqrt(step);
  if (p.noise_stds)
    noise = static_cast<const A*>(p.noise_stds)[row * p.noise_stds_stride];
  else if (p.has_noise_std)
    noise = A(p.noise_std);
  return {step * A(0.5), noise};
}

// The move of one element along its compressed drift c.
template <class A>
EFFEBM_HD A move(A x, A c, A half_step) {
  return fma(-half_step, c, x);
}

// A bound as the state's storage type holds it.
template <class T>
EFFEBM_HD Compute<T> storable(double bound) {
  return widen(narrow<T>(Compute<T>(bound)));
}

}  // namespace effebm::inline EFFEBM_ISA::core
