// The Langevin step x <- bounds(x - step_size / 2 * C(clip(g) + e) + noise_std * normal): what it
// is given, and what it does to one element. Comparisons are written so that NaN stays NaN.
#pragma once

#include "arith.h"
#include "clip.h"
#include "compressors.h"
#include "dtype.h"
#include "philox.h"
#include "random_block.h"
#include "stochastic_round.h"

namespace effebm {

enum class Bounds : int { none, clamp, reflect };

// Two sums over each row. statistics: of g^2, and of 1 for every element that the clip changed;
// transition: of c * (x' - x) and of c^2, with c = C(u) the drift.
enum class RowSums : int { none, statistics, transition };
constexpr int kRowSums = 2;

// Values of a tensor in the compute type, or null: the strides are 0 where rows, or elements of a
// row, share a value.
struct StepScalars {
  const void* data;
  int64_t row_stride, element_stride;
};

// Rows of dim contiguous elements. "compute type": float64 for float64 states, else float32. The
// key may be null where there is no x and the compressor draws nothing.
struct LangevinStepParams : CompressorParams {
  DType dtype;
  int64_t rows, dim;
  const void* x;  // or null: the drift and the sums are wanted alone
  void* out;      // may be x, but for sums of a transition
  const void* grad;
  void* residual;     // compute type, or null
  void* drift;        // compute type; receives C(u) unless null
  const void* delta;  // compute type; x' - x of the transition where there is no x, or null: 0
  RowSums row_sums_of;
  void* row_sums;  // compute type, (rows, kRowSums)
  double step_size;
  StepScalars step_sizes;  // used instead of step_size unless null
  bool has_noise_std;      // else noise_std = sqrt(step_size)
  double noise_std;
  StepScalars noise_stds;
  Clip clip;
  double clip_limit;
  Bounds bounds;
  double lower, upper;
  bool stochastic_rounding;  // of 16-bit states; else to nearest
  bool averaged_noise;       // the mean of the normals of this step and of the next one
};

}  // namespace effebm

namespace effebm::inline EFFEBM_ISA::core {

// Mirrors once at the bound that was passed, then clamps what is still outside.
template <class A>
EFFEBM_HD A reflect(A v, A lower, A upper) {
  const A mirrored = v < lower ? (lower + lower) - v : (v > upper ? (upper + upper) - v : v);
  return clamp(mirrored, lower, upper);
}

// Tells whether the elements of a row have step sizes or noise of their own.
EFFEBM_HD bool by_element(const LangevinStepParams& p) {
  return p.step_sizes.element_stride || p.noise_stds.element_stride;
}

// The scalars of the step of one chain, or of one of its elements, in the compute type.
template <class A>
struct ChainScalars {
  A half_step;
  A noise_std;
};

template <class A>
EFFEBM_HD A value_of(const StepScalars& scalars, int64_t row, int64_t element) {
  const int64_t at = row * scalars.row_stride + element * scalars.element_stride;
  return static_cast<const A*>(scalars.data)[at];
}

template <class A>
EFFEBM_HD ChainScalars<A> chain_scalars(const LangevinStepParams& p, int64_t row,
                                        int64_t element = 0) {
  const A step = p.step_sizes.data ? value_of<A>(p.step_sizes, row, element) : A(p.step_size);
  A noise = sqrt(step);
  if (p.noise_stds.data)
    noise = value_of<A>(p.noise_stds, row, element);
  else if (p.has_noise_std)
    noise = A(p.noise_std);
  if (p.averaged_noise) noise = noise * A(0.5);  // of a sum of two normals
  return {step * A(0.5), noise};
}

// The move of one element along its compressed drift c.
template <class A>
EFFEBM_HD A move(A x, A c, A half_step) {
  return fma(-half_step, c, x);
}

// The same with noise; without any where the standard deviation is zero, as infinities times zero
// are not a number.
template <class A>
EFFEBM_HD A move(A x, A c, const ChainScalars<A>& scalars, float normal) {
  const A moved = move(x, c, scalars.half_step);
  return scalars.noise_std == A(0) ? moved : fma(scalars.noise_std, A(normal), moved);
}

// Tells whether a step moves the elements of a random block only.
EFFEBM_HD bool moves_block(const LangevinStepParams& p) {
  return p.compressor == Compressor::random_block;
}

// A bound as the state's storage type holds it.
template <class T>
EFFEBM_HD Compute<T> storable(double bound) {
  return widen(narrow<T>(Compute<T>(bound)));
}

}  // namespace effebm::inline EFFEBM_ISA::core
